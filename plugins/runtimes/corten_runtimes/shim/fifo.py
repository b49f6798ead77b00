"""Opening the client's end of a stream: FIFOs held open so that a client may come, go and come back."""

import fcntl
import os
import select
import stat
import sys
import termios
from dataclasses import dataclass, field

from corten.errors import Unimplemented, mapped

assert sys.platform != "win32"

_CLOEXEC = os.O_CLOEXEC
_PIPE_SIZE = 1 << 20


@dataclass(slots=True)
class Ends:
    """A stream of the client's: the descriptor to read or write, and one that keeps a FIFO's other side present.

    While `holder` is open a FIFO written to never raises SIGPIPE, and one read from does not end.
    """

    fd: int
    holder: int = -1
    fifo: bool = field(default=False)
    waiting: str = ""
    """Path of a FIFO whose holder is opened by `hold`; until then `probe` reads it."""
    probe: int = -1

    def hold(self) -> None:
        """Hold it open for clients to come, unless one has been there already, has written something, and left.

        That is what a client does whose own input ends before it can say CloseIO: `echo x | ctr run IMAGE ID cat`.
        """
        if self.waiting:
            poll = select.poll()
            poll.register(self.probe, 0)
            left = any(events & select.POLLHUP for _, events in poll.poll(0))
            if not (left and fcntl.ioctl(self.probe, termios.FIONREAD, bytes(4)) != bytes(4)):
                try:
                    self.holder = os.open(self.waiting, os.O_WRONLY | os.O_NONBLOCK | _CLOEXEC)
                except OSError:  # removed meanwhile: nobody will come
                    pass
            self._forgo()

    def _forgo(self) -> None:
        self.waiting = ""
        if self.probe >= 0:
            os.close(self.probe)
            self.probe = -1

    def release(self) -> None:
        """Close the holder: from now on the stream ends when the client closes it."""
        self._forgo()
        if self.holder >= 0:
            os.close(self.holder)
            self.holder = -1

    def close(self) -> None:
        """Close both."""
        self.release()
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


def path_of(uri: str) -> str:
    """The path in a stream's path or URI. Raises Unimplemented for a scheme that this shim does not know."""
    scheme, found, path = uri.partition("://")
    if not found or uri.startswith("/"):
        return uri
    if scheme not in ("fifo", "file"):
        raise Unimplemented(
            f"stdio {uri!r}: this shim does not know the scheme {scheme}: it has fifo, binary, binary-v2, file, stream"
        )
    return path


def open_output(uri: str, *, blocking: bool) -> Ends:
    """Open for writing. Raises NotFound, PermissionDenied, Unimplemented."""
    path = path_of(uri)
    with mapped(f"open output stream {uri}"):
        if not stat.S_ISFIFO(os.stat(path).st_mode):
            return Ends(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_NOCTTY | _CLOEXEC))
        holder = os.open(path, os.O_RDONLY | os.O_NONBLOCK | _CLOEXEC)
        return _paired(path, os.O_WRONLY, holder, blocking)


def open_input(uri: str, *, blocking: bool, later: bool = False) -> Ends:
    """Open for reading, as `open_output`; held open by `Ends.hold` if that is to be `later`."""
    path = path_of(uri)
    with mapped(f"open input stream {uri}"):
        if not stat.S_ISFIFO(os.stat(path).st_mode):
            return Ends(os.open(path, os.O_RDONLY | os.O_NOCTTY | _CLOEXEC))
        reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK | _CLOEXEC)
        if later:
            probe = os.dup(reader)
            os.set_blocking(reader, blocking)
            return Ends(reader, fifo=True, waiting=path, probe=probe)
        try:
            holder = os.open(path, os.O_WRONLY | os.O_NONBLOCK | _CLOEXEC)
        except OSError:
            os.close(reader)
            raise
        if blocking:
            os.set_blocking(reader, True)
        return Ends(reader, holder, True)


def pipe_pair() -> tuple[int, int]:
    """A pipe with room for bursts where the system allows it; both ends blocking."""
    read, write = os.pipe2(_CLOEXEC)
    try:
        fcntl.fcntl(write, fcntl.F_SETPIPE_SZ, _PIPE_SIZE)
    except OSError:
        pass
    return read, write


def _paired(path: str, mode: int, holder: int, blocking: bool) -> Ends:
    try:
        fd = os.open(path, mode | os.O_NONBLOCK | _CLOEXEC)
    except OSError:
        os.close(holder)
        raise
    if blocking:
        os.set_blocking(fd, True)
    return Ends(fd, holder, True)
