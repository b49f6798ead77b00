"""Copying from one descriptor to another as they become ready: small pieces by read and write, big ones by splice."""

import fcntl
import os
import sys
import termios
from collections.abc import Callable

# ruff: noqa: E402  (what is imported below exists on Linux only)
assert sys.platform != "win32"

from .loop import IN, OUT, Loop

CHUNK = 64 * 1024
SPLICE_FROM = 16 * 1024
"""Bytes waiting from which splice pays; spliced small pieces would each take a page of the pipe."""
SPLICE_MAX = 1 << 20


class Pump:
    """Moves bytes until the source ends or the sink refuses; owns and closes both descriptors.

    Both must be non-blocking. `ended` is called once.
    """

    def __init__(self, loop: Loop, source: int, sink: int, ended: "Callable[[Pump], None]", *, pipes: bool) -> None:
        self._loop, self._source, self._sink, self._ended = loop, source, sink, ended
        self._pipes = pipes
        self._pending = b""
        self._left: int | None = None
        self._open = True
        loop.watch(source, IN, self._fill)

    def close(self) -> None:
        """Stop now; what is on the way is lost."""
        if self._open:
            self._open = False
            for fd in (self._source, self._sink):
                self._loop.forget(fd)
                os.close(fd)
            ended, self._ended = self._ended, _nobody  # who is told refers to the pump: nothing is left to collect
            ended(self)

    def finish(self) -> None:
        """Move what is there now, as fast as the sink takes it, then stop, whoever still holds the other end."""
        if self._open:
            self._left = self._waiting()
            if not self._left and not self._pending:
                self.close()

    def _fill(self, events: int) -> None:
        if self._open and not self._step() and not events & IN:
            self.close()

    def _step(self) -> bool:
        """Move one piece; False when there is nothing (more) to move now."""
        try:
            moved = self._splice() if self._pipes and self._waiting() >= SPLICE_FROM else self._copy()
        except BlockingIOError:
            return False
        except OSError:  # EIO is how a terminal ends, EPIPE how a reader of stdin does
            moved = 0
        if self._left is not None:
            self._left -= moved
        if not moved or self._spent():
            self.close()
        return moved > 0

    def _spent(self) -> bool:
        return self._left is not None and self._left <= 0 and not self._pending

    def _waiting(self) -> int:
        return int.from_bytes(fcntl.ioctl(self._source, termios.FIONREAD, bytes(4)), "little")

    def _splice(self) -> int:
        try:
            return os.splice(self._source, self._sink, SPLICE_MAX, flags=os.SPLICE_F_NONBLOCK)
        except BlockingIOError:
            self._await_sink()
            raise

    def _copy(self) -> int:
        self._pending = os.read(self._source, CHUNK)
        moved = len(self._pending)
        if moved:
            self._write()
        return moved

    def _write(self) -> None:
        try:
            self._pending = self._pending[os.write(self._sink, self._pending) :]
        except BlockingIOError:
            pass
        if self._pending:
            self._await_sink()

    def _await_sink(self) -> None:
        self._loop.forget(self._source)
        self._loop.watch(self._sink, OUT, self._flush)

    def _flush(self, events: int) -> None:
        if not self._open:
            return
        try:
            if self._pending:
                self._pending = self._pending[os.write(self._sink, self._pending) :]
        except BlockingIOError:
            return
        except OSError:
            self.close()
            return
        if self._spent():
            self.close()
        elif not self._pending:
            self._loop.forget(self._sink)
            self._loop.watch(self._source, IN, self._fill)


def _nobody(pump: Pump) -> None:
    """Whoever was to be told has been."""
