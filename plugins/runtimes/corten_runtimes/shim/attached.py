"""Those who are attached to a process: they get its output as it is written, and their input goes to it.

Each reader holds output back until it has taken what it was given, but no longer than `SLOW_MAX` seconds for one piece
(64 KiB): then it is let go, as one that has closed its FIFO is. So no client can stop a process but one that was let in
to hold it up: whoever has started it in the foreground.
"""

import errno
import os
import stat
import sys
from collections.abc import Callable
from functools import partial

from corten.errors import FailedPrecondition, InvalidArgument, mapped

# ruff: noqa: E402  (what is imported below exists on Linux only)
assert sys.platform != "win32"

from .loop import IN, OUT, Loop

SLOW_MAX = 1.0
"""Seconds in which a reader must take a piece of output."""
ATTACHED_MAX = 64
"""Readers of one stream, and writers to one stdin, at a time."""
CHUNK = 64 * 1024
_FLAGS = os.O_NONBLOCK | os.O_NOFOLLOW | os.O_NOCTTY | os.O_CLOEXEC


class _Reader:
    """One who reads: what it still has to take, of which piece that is, and whether it has all the time it wants."""

    __slots__ = ("holds_up", "pending", "piece")

    def __init__(self, holds_up: bool) -> None:
        self.pending, self.piece, self.holds_up = b"", 0, holds_up


class Audience:
    """The readers of one stream. `freed` is called whenever none of them holds back output any more."""

    def __init__(self, loop: Loop, freed: Callable[[], None]) -> None:
        self._loop, self._freed = loop, freed
        self._readers: dict[int, _Reader] = {}
        self._piece = 0
        self._ending = False

    @property
    def behind(self) -> bool:
        """Whether one has not taken yet all that it was given."""
        return any(reader.pending for reader in self._readers.values())

    @property
    def crowded(self) -> bool:
        """Whether it has as many readers as it may have."""
        return len(self._readers) >= ATTACHED_MAX

    def add(self, fd: int, *, holds_up: bool = False) -> None:
        """A reader: the writing end of its FIFO, non-blocking, which is owned from now on."""
        if self._ending:
            os.close(fd)
            return
        self._readers[fd] = _Reader(holds_up)
        self._loop.watch(fd, 0, partial(self._ready, fd))  # errors are told always: it has left

    def send(self, data: bytes) -> None:
        """Give all of them a piece of output; to be called when none is behind."""
        self._piece += 1
        for fd, reader in list(self._readers.items()):
            reader.pending, reader.piece = data, self._piece
            self._push(fd)
            if reader.pending:
                self._loop.change(fd, OUT)
                if not reader.holds_up:
                    self._loop.after(SLOW_MAX, partial(self._hurry, fd, self._piece))

    def end(self) -> None:
        """No more output: each is closed once it has taken all."""
        self._ending = True
        for fd in [fd for fd, reader in self._readers.items() if not reader.pending]:
            self._drop(fd)

    def close(self) -> None:
        """Let all go at once."""
        self._ending = True
        for fd in list(self._readers):
            self._drop(fd)

    def _ready(self, fd: int, events: int) -> None:
        if not events & OUT:
            self._drop(fd)
        else:
            self._push(fd)
            if fd in self._readers and not self._readers[fd].pending:
                self._loop.change(fd, 0)
        if not self.behind:
            self._freed()

    def _push(self, fd: int) -> None:
        reader = self._readers[fd]
        try:
            reader.pending = reader.pending[os.write(fd, reader.pending) :]
        except BlockingIOError:
            return
        except OSError:  # it has left
            reader.pending = b""
            self._drop(fd)
        else:
            if self._ending and not reader.pending:
                self._drop(fd)

    def _hurry(self, fd: int, piece: int) -> None:
        """The time for this piece is over."""
        reader = self._readers.get(fd)
        if reader is not None and reader.pending and reader.piece == piece:
            self._drop(fd)
            if not self.behind:
                self._freed()

    def _drop(self, fd: int) -> None:
        if self._readers.pop(fd, None) is not None:
            self._loop.forget(fd)
            os.close(fd)


class Input:
    """A stdin that is held open: what any of those attached write goes to `sink`, which is owned.

    With `once` it ends when the first of them has, and else by `end` alone.
    """

    def __init__(self, loop: Loop, sink: int, *, once: bool) -> None:
        self._loop, self._sink, self._once = loop, sink, once
        os.set_blocking(sink, False)
        self._sources: list[int] = []
        self._pending = b""
        self._ending = False

    @property
    def crowded(self) -> bool:
        """Whether as many are attached as may be."""
        return len(self._sources) >= ATTACHED_MAX

    def add(self, fd: int) -> None:
        """One who writes: the reading end of its FIFO, non-blocking, which is owned from now on."""
        if self._sink < 0 or self._ending:
            os.close(fd)
            return
        self._sources.append(fd)
        if not self._pending:
            self._listen(fd)

    def end(self) -> None:
        """The process sees the end of its stdin, after what is on its way to it."""
        self._ending = True
        if not self._pending:
            self.close()

    def close(self) -> None:
        """Close all at once."""
        self._ending = True
        for fd in list(self._sources):
            self._drop(fd)
        if self._sink >= 0:
            self._loop.forget(self._sink)
            os.close(self._sink)
            self._sink = -1

    def _listen(self, fd: int) -> None:
        self._loop.watch(fd, IN, partial(self._fill, fd))

    def _fill(self, fd: int, events: int) -> None:
        try:
            self._pending = os.read(fd, CHUNK)
        except BlockingIOError:
            return
        if not self._pending:
            self._drop(fd)
            if self._once:
                self.end()
            return
        self._push(0)
        if self._pending:  # the process does not read: nor are they read
            for source in self._sources:
                self._loop.forget(source)
            self._loop.watch(self._sink, OUT, self._flush)

    def _flush(self, events: int) -> None:
        self._push(events)
        if self._pending or self._sink < 0:
            return
        self._loop.forget(self._sink)
        for source in self._sources:
            self._listen(source)
        if self._ending:
            self.close()

    def _push(self, events: int) -> None:
        try:
            self._pending = self._pending[os.write(self._sink, self._pending) :]
        except BlockingIOError:
            pass
        except OSError:  # the process has closed its stdin
            self._pending = b""
            self.close()

    def _drop(self, fd: int) -> None:
        self._sources.remove(fd)
        self._loop.forget(fd)
        os.close(fd)


def open_reader(path: str) -> int:
    """The writing end of a FIFO that somebody reads. Raises InvalidArgument, NotFound, FailedPrecondition."""
    with mapped(f"attach to FIFO {path}"):
        try:
            return _fifo(path, os.open(path, os.O_WRONLY | _FLAGS))
        except OSError as error:
            if error.errno != errno.ENXIO:
                raise
    raise FailedPrecondition(f"attach to FIFO {path}: nobody has it open for reading (open it before)")


def open_writer(path: str) -> int:
    """The reading end of a FIFO that somebody writes, or will. Raises InvalidArgument, NotFound."""
    with mapped(f"attach to FIFO {path}"):
        return _fifo(path, os.open(path, os.O_RDONLY | _FLAGS))


def _fifo(path: str, fd: int) -> int:
    if not stat.S_ISFIFO(os.fstat(fd).st_mode):
        os.close(fd)
        raise InvalidArgument(f"attach to {path}: it is not a FIFO")
    return fd
