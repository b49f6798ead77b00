"""Copying between descriptors in a thread, until the end of the stream or until it is told to stop.

Bytes go from a FIFO to a pipe or file by splice(2), without passing through Python, and else by read and write.
"""

import errno
import os
import select
import stat
import sys
from collections.abc import Callable

from corten.errors import Unimplemented

Sink = int | Callable[[bytes], object]
"""A descriptor, or what takes each piece (`bytearray().extend`, say)."""

CHUNK = 256 << 10
PIPE_SIZE = 1 << 20
_F_SETPIPE_SZ = 1031


def grow(fifo: int) -> None:
    """Let a FIFO hold more, so that both sides are woken less often; an unprivileged limit may forbid it."""
    if sys.platform != "win32":
        import fcntl

        try:
            fcntl.fcntl(fifo, _F_SETPIPE_SZ, PIPE_SIZE)
        except OSError:
            pass


def drain(source: int, sink: Sink, stop: int, gone: Callable[[], object] = lambda: None) -> None:
    """Copy from the FIFO `source`, opened O_NONBLOCK, until its last writer is gone or `stop` is readable.

    A FIFO that no writer opened yet is waited for. When the sink is gone, the rest is read and thrown away, so that the
    container does not stand still; `gone` is called once then.
    """
    spliced = isinstance(sink, int) and _waits_unlocked(sink)
    while _ready(source, stop):
        try:
            if spliced and isinstance(sink, int):
                if _splice(source, sink, stop) == 0:
                    return
                continue
            data = os.read(source, CHUNK)
        except BlockingIOError:
            continue
        except BrokenPipeError:
            spliced, sink = False, _discard
            gone()
            continue
        except OSError as error:
            if error.errno != errno.EINVAL or not spliced:
                raise
            spliced = False  # a file opened for appending: splice(2) does not know it
            continue
        if not data:
            return
        if not _deliver(sink, data, stop):
            sink = _discard
            gone()


def feed(source: int, fifo: int, stop: int, seen: Callable[[bytes], tuple[bytes, bool]]) -> None:
    """Copy from `source` (a terminal, pipe or file) to `fifo` until its end or until `stop` is readable.

    `seen` is given each piece and returns what of it to pass on, and whether there is to be more.
    """
    more = True
    while more and _ready(source, stop):
        if not (typed := os.read(source, 64 << 10)):
            return
        passed, more = seen(typed)
        if passed and not _deliver(fifo, passed, stop):
            return


def _discard(data: bytes) -> None:
    pass


def _waits_unlocked(sink: int) -> bool:
    """Whether splice(2) may wait for room there: for a terminal or a socket it would keep the FIFO locked meanwhile.

    Whoever writes to the FIFO hangs in write(2) then, also without blocking: a shim, with all that it serves.
    """
    kind = os.fstat(sink).st_mode
    return stat.S_ISFIFO(kind) or stat.S_ISREG(kind)


def _ready(source: int, stop: int) -> bool:
    """Wait until there is something to read; False once `stop` is set."""
    if sys.platform == "win32":
        raise Unimplemented("FIFOs: Windows has none")
    poll = select.poll()
    poll.register(source, select.POLLIN)
    poll.register(stop, select.POLLIN)
    return all(fd == source for fd, _ in poll.poll())


def _splice(source: int, sink: int, stop: int) -> int:
    if sys.platform != "linux":
        raise OSError(errno.EINVAL, "splice")
    try:
        return os.splice(source, sink, CHUNK)
    except BlockingIOError:
        # Full is the sink: the source was just found readable.
        _writable(sink, stop)
        raise


def _deliver(sink: Sink, data: bytes, stop: int) -> bool:
    """False when nobody takes it any more."""
    if not isinstance(sink, int):
        sink(data)
        return True
    view = memoryview(data)
    while view:
        try:
            view = view[os.write(sink, view) :]
        except BlockingIOError:
            if not _writable(sink, stop):
                return False
        except (BrokenPipeError, ConnectionResetError):
            return False
        except OSError as error:
            if error.errno != errno.EIO:  # that is what a terminal that hung up says
                raise
            return False
    return True


def _writable(sink: int, stop: int) -> bool:
    if sys.platform == "win32":
        raise Unimplemented("FIFOs: Windows has none")
    poll = select.poll()
    poll.register(sink, select.POLLOUT)
    poll.register(stop, select.POLLIN)
    return all(fd == sink for fd, _ in poll.poll())
