"""A log that is written by a thread of its own, so that a disk that does not answer holds up nothing else.

The copier has one for each log, for its logs are those of many containers. (A shim's are those of its pod.) The thread
knows of the loop only by a pipe; what it does is that of `LogFile`, on a clock that is its own.
"""

import _thread
import os
import sys
import time
from _queue import SimpleQueue
from collections.abc import Callable
from typing import Any

# ruff: noqa: E402  (what is imported below exists on Linux only)
assert sys.platform != "win32"

from .logfile import LogFile, open_log
from .loop import IN, Loop

_STACK = 256 * 1024


class LogAside:
    """Fulfils what `LogFile` promises; `full` while a piece is on its way to the disk."""

    def __init__(self, loop: Loop, path: str, freed: Callable[[], None], *, plain: bool = False) -> None:
        self._loop, self._path, self._plain, self._freed = loop, path, plain, freed
        self._waiting, self._busy, self._closed = b"", False, False
        self._work: SimpleQueue[bytes | int | None] = SimpleQueue()
        log = LogFile(clock := _Clock(), path, _nothing, plain=plain)
        self._told, tell = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        loop.watch(self._told, IN, self._done)
        _thread.stack_size(_STACK)
        _thread.start_new_thread(_write, (log, clock, self._work, tell))

    @property
    def full(self) -> bool:
        """Whether what was written last still waits."""
        return self._busy

    def write(self, lines: bytes) -> None:
        """Append whole lines, after all that were given before."""
        if lines and self._busy:
            self._waiting += lines
        elif lines:
            self._busy = True
            self._work.put(lines)

    def reopen(self) -> None:
        """Go on in the file that is, or is then made, under the path. On an error the old one stays in use."""
        self._work.put(open_log(self._path, self._plain))

    def close(self) -> None:
        """Close it, once what is on its way has arrived; what still waits is lost."""
        if not self._closed:
            self._closed = True
            self._loop.forget(self._told)
            os.close(self._told)
            self._work.put(None)

    def _done(self, events: int) -> None:
        os.read(self._told, 64)
        if self._waiting:
            lines, self._waiting = self._waiting, b""
            self._work.put(lines)
        else:
            self._busy = False
            self._freed()


class _Clock:
    """What `LogFile` wants of a loop: calls after some time, made when the thread has nothing else to do."""

    def __init__(self) -> None:
        self._calls: list[tuple[float, Callable[[], None]]] = []

    def after(self, seconds: float, call: Callable[[], None]) -> None:
        self._calls.append((seconds, call))

    def run(self) -> None:
        """Until nothing is to be called any more."""
        while self._calls:
            seconds, call = self._calls.pop(0)
            time.sleep(seconds)
            call()


def _write(log: Any, clock: _Clock, work: "SimpleQueue[bytes | int | None]", tell: int) -> None:
    """The thread."""
    while (piece := work.get()) is not None:
        if isinstance(piece, int):
            log.take(piece)
            continue
        log.write(piece)
        clock.run()  # a full disk is tried again, for a while
        try:
            os.write(tell, b"\0")
        except BrokenPipeError:  # closed meanwhile
            break
    log.close()
    os.close(tell)


def _nothing() -> None:
    """In place of the call that there is room again: the clock has run out."""
