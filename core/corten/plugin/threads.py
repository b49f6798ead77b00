"""Calls that may never return: run in a thread that is abandoned when its time is up.

The thread is a daemon thread, so that one that hangs does not keep the process from ending.
"""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Callable
from types import FrameType
from typing import Generic, TypeVar

from corten.errors import DeadlineExceeded, Unknown

T = TypeVar("T")


class Abandonable(Generic[T]):
    """One call in a thread of its own.

    `late` is given the result if it comes after the call was abandoned.
    """

    def __init__(self, name: str, call: Callable[[], T], late: Callable[[T], object] | None = None) -> None:
        self.name = name
        self._call = call
        self._late = late
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._abandoned = False
        self._result: list[T] = []
        self._error: BaseException | None = None
        self._tell: Callable[[], object] = lambda: None
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def wait(self, deadline: float) -> T:
        """Run it, and block until it ended. Raises what it raised, or DeadlineExceeded naming where it hangs."""
        self._thread.start()
        self._ended.wait(deadline)
        return self._outcome(deadline)

    async def wait_async(self, deadline: float) -> T:
        """As `wait`, without blocking the event loop."""
        loop, ended = asyncio.get_running_loop(), asyncio.Event()
        self._tell = lambda: loop.is_closed() or loop.call_soon_threadsafe(ended.set)
        self._thread.start()
        try:
            await asyncio.wait_for(ended.wait(), deadline)
        except TimeoutError:
            pass
        return self._outcome(deadline)

    def _run(self) -> None:
        try:
            result = self._call()
        except BaseException as error:
            self._error = error
        else:
            self._result.append(result)
        with self._lock:
            self._ended.set()
            late = self._abandoned
        if late and self._late and self._result:
            self._late(self._result[0])
        self._tell()

    def _outcome(self, deadline: float) -> T:
        with self._lock:
            self._abandoned = not self._ended.is_set()
        if self._abandoned:
            raise DeadlineExceeded(f"{self.name}: did not end in {deadline:g} seconds{self._where()}")
        if isinstance(self._error, asyncio.CancelledError):  # would look as if whoever waits had been cancelled
            raise Unknown(f"{self.name}: raised CancelledError") from self._error
        if self._error is not None:
            raise self._error
        return self._result[0]

    def _where(self) -> str:
        frame = sys._current_frames().get(self._thread.ident or 0)
        return f"; it is in {place(frame)}" if frame else ""


def place(frame: FrameType | None) -> str:
    """`function (file:line)` of the innermost frame that belongs to no standard library module."""
    if frame is None:
        return "no Python frame"
    best, each = frame, frame
    while each.f_back is not None and _is_stdlib(each):
        each = each.f_back
    best = frame if _is_stdlib(each) else each
    return f"{best.f_code.co_name} ({best.f_code.co_filename}:{best.f_lineno})"


def _is_stdlib(frame: FrameType) -> bool:
    top = str(frame.f_globals.get("__name__", "")).partition(".")[0]
    return top in sys.stdlib_module_names
