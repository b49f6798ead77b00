"""A logging program of the user's: `binary:///path?name=value…` and `binary-v2://…` (containerd's docs/runtime-v2.md).

It gets the process's stdout as descriptor 3, its stderr as 4, and 5 to say that it is ready: by closing it, for
`binary-v2` after writing a byte to it. Its arguments are the names and values of the query, its environment
CONTAINER_ID (for an exec the exec id, as containerd has it) and CONTAINER_NAMESPACE. Nothing is copied: the process
writes to pipes that the program reads. When the process is over the program sees the end of both and is waited for;
after `OVER_MAX` seconds it gets SIGTERM, and `TERM_MAX` later SIGKILL.
"""

import fcntl
import os
import signal
import sys

# ruff: noqa: E402  (what is imported below exists on Linux only)
assert sys.platform != "win32"

from corten.errors import FailedPrecondition, InvalidArgument, NotFound, Unavailable

from . import fifo
from .logged import unquote
from .loop import IN, Later, Loop, Steps
from .reaper import Reaper
from .spawn import DEFAULTS

SCHEMES = ("binary://", "binary-v2://")
READY_MAX = 10.0
"""Seconds in which the program must be ready."""
OVER_MAX = 10.0
TERM_MAX = 2.0
_FREE = 10
"""Descriptors from here on are not those that the program gets."""


class Logger:
    """The program of one process. `stdout` and `stderr` are for that process, owned until it has them."""

    def __init__(self, loop: Loop, reaper: Reaper, id: str, namespace: str, uri: str) -> None:
        self._loop, self._uri = loop, uri
        self.words = command(uri)
        self._ready, wait = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        read, self.stdout = fifo.pipe_pair()
        read_errors, self.stderr = fifo.pipe_pair()
        environ = {"CONTAINER_ID": id, "CONTAINER_NAMESPACE": namespace}
        try:
            self._pid = _spawn(self.words, environ, (read, read_errors, wait))
        except BaseException:
            for fd in (self._ready, self.stdout, self.stderr):
                os.close(fd)
            raise
        finally:
            for fd in (read, read_errors, wait):
                os.close(fd)
        self._ended = reaper.expect(self._pid)

    def ready(self) -> Steps[None]:
        """Wait until the program is. Raises FailedPrecondition if it does not become so."""
        told: Later[bytes] = Later()
        self._loop.watch(self._ready, IN, lambda _: told.set(_read(self._ready)))
        self._loop.after(READY_MAX, lambda: told.fail(self._failed(f"is not ready after {READY_MAX:.0f} s")))
        try:
            word = yield from told.wait()
        finally:
            self._loop.forget(self._ready)
            os.close(self._ready)
            self._ready = -1
        if not word and self._uri.startswith("binary-v2:"):
            raise self._failed("ended, or closed descriptor 5, without saying that it is ready")

    def finish(self) -> Later[None]:
        """The process is over: what is returned is set when the program is too."""
        over: Later[None] = Later()
        self._ended.then(lambda: over.set(None))
        self._loop.after(OVER_MAX, self.close)
        return over

    def close(self) -> None:
        """End it now."""
        if not self._ended.done:
            self._kill(signal.SIGTERM)
            self._loop.after(TERM_MAX, lambda: self._kill(signal.SIGKILL))
        if self._ready >= 0:
            self._loop.forget(self._ready)
            os.close(self._ready)
            self._ready = -1

    def _kill(self, number: int) -> None:
        if not self._ended.done:  # not reaped: the pid is still its own
            try:
                os.kill(self._pid, number)
            except ProcessLookupError:
                pass

    def _failed(self, why: str) -> FailedPrecondition:
        return FailedPrecondition(f"logging program {self.words[0]} of {self._uri}: it {why}")


def command(uri: str) -> list[str]:
    """The command line that a URI stands for. Raises InvalidArgument."""
    path, _, query = uri.partition("://")[2].partition("?")
    if not path.startswith("/"):
        raise InvalidArgument(f"stdio {uri!r}: not of the form binary:///absolute/path?name=value")
    arguments: dict[str, str] = {}
    for pair in query.split("&") if query else ():
        name, _, value = pair.partition("=")
        arguments.setdefault(unquote(name.replace("+", " ")), unquote(value.replace("+", " ")))
    return [unquote(path), *(word for pair in arguments.items() for word in pair)]


def _spawn(words: list[str], environ: dict[str, str], streams: tuple[int, int, int]) -> int:
    high = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, _FREE) for fd in streams]
    null = [(os.POSIX_SPAWN_OPEN, fd, "/dev/null", os.O_RDWR, 0) for fd in (0, 1, 2)]
    moved = [(os.POSIX_SPAWN_DUP2, fd, target) for target, fd in enumerate(high, 3)]
    try:
        return os.posix_spawn(words[0], words, environ, file_actions=[*null, *moved], setsigmask=(), setsigdef=DEFAULTS)
    except (FileNotFoundError, NotADirectoryError):
        raise NotFound(f"logging program {words[0]}: does not exist") from None
    except OSError as error:
        raise Unavailable(f"logging program {words[0]}: cannot start: {error.strerror}") from None
    finally:
        for fd in high:
            os.close(fd)


def _read(fd: int) -> bytes:
    try:
        return os.read(fd, 1)
    except BlockingIOError:
        return b""
