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

# ruff: noqa: E402  (what is imported below exists on Linux only)
assert sys.platform != "win32"

from .lines import Lines, Raw
from .logfile import LogFile, open_log
from .loop import IN, Loop

_Job = bytes | int | tuple[int, bool, Lines | Raw] | None
"""Lines to append, a file to go on in, output to carry, or the end."""

_STACK = 256 * 1024


class LogAside:
    """Fulfils what `LogFile` promises; `full` while a piece is on its way to the disk.

    Its thread reads the output as well: what is not on its way to the disk yet waits in the FIFO, so that a copier that
    is killed loses no more than one that has no threads.
    """

    def __init__(self, loop: Loop, path: str, freed: Callable[[], None], *, plain: bool = False) -> None:
        self._loop, self._path, self._plain, self._freed = loop, path, plain, freed
        self._waiting, self._busy, self._closed = b"", False, False
        self._work: SimpleQueue[_Job] = SimpleQueue()
        self._read: SimpleQueue[bytes | None] = SimpleQueue()
        self._carried: Callable[[bytes | None], None] | None = None
        log = LogFile(clock := _Clock(), path, _nothing, plain=plain)
        self._told, tell = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        loop.watch(self._told, IN, self._done)
        _thread.stack_size(_STACK)
        _thread.start_new_thread(_write, (log, clock, self._work, self._read, tell))

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

    def carry(self, source: int, there: bool, lines: Lines | Raw, carried: Callable[[bytes | None], None]) -> None:
        """As `LogFile.carry`, and to be called when it is not `full`; `carried` is called later."""
        self._busy, self._carried = True, carried
        # A descriptor of its own: whoever has `source` may close it while the thread is held up.
        self._work.put((os.dup(source), there, lines))

    def reopen(self) -> None:
        """Go on in the file that is, or is then made, under the path. On an error the old one stays in use."""
        self._work.put(open_log(self._path, self._plain))

    def close(self) -> None:
        """Close it, once what is on its way or waits has arrived."""
        if not self._closed:
            self._closed = True
            self._loop.forget(self._told)
            os.close(self._told)
            if self._waiting:
                self._work.put(self._waiting)
            self._work.put(None)

    def _done(self, events: int) -> None:
        os.read(self._told, 1)
        self._busy = False
        if self._waiting:
            lines, self._waiting = self._waiting, b""
            self.write(lines)
        if carried := self._carried:
            self._carried = None
            carried(self._read.get())
        if not self._busy and not self._closed:
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


def _write(
    log: LogFile, clock: _Clock, work: "SimpleQueue[_Job]", read: "SimpleQueue[bytes | None]", tell: int
) -> None:
    """The thread."""
    while (job := work.get()) is not None:
        if isinstance(job, int):
            log.take(job)
            continue
        if isinstance(job, bytes):
            log.write(job)
        else:
            source, there, lines = job
            log.carry(source, there, lines, read.put)
            os.close(source)
        clock.run()  # a full disk is tried again, for a while
        try:
            os.write(tell, b"\0")
        except BrokenPipeError:
            pass  # closed meanwhile: nobody waits for it
    log.close()
    os.close(tell)


def _nothing() -> None:
    """In place of the call that there is room again: the clock has run out."""
