"""The calls that a server has under way, and which of them the daemon may end at once when it stops."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from .call import GrpcCall


class Underway:
    """Tasks of calls; used on the event loop."""

    def __init__(self) -> None:
        self._handlers: set[asyncio.Task[Any]] = set()
        self._waiting: dict[asyncio.Task[Any], GrpcCall] = {}

    def __repr__(self) -> str:
        return f"Underway({len(self._handlers)} calls, {len(self._waiting)} waiting)"

    def begun(self, call: GrpcCall, stops_at_once: bool) -> None:
        """The current task is the handler of `call`, until it says `over`."""
        task = _current()
        self._handlers.add(task)
        if stops_at_once:
            self._waiting[task] = call

    def over(self) -> None:
        """The current task is the handler of no call any more."""
        task = _current()
        self._handlers.discard(task)
        self._waiting.pop(task, None)

    @contextmanager
    def waiting(self, call: GrpcCall) -> Iterator[None]:
        """The current task waits for the client's next request; it may be ended here."""
        task = _current()
        if task in self._waiting:
            yield
            return
        self._waiting[task] = call
        try:
            yield
        finally:
            self._waiting.pop(task, None)

    def interrupt(self) -> None:
        """End what waits: each call is answered with Unavailable."""
        for task, call in self._waiting.items():
            call.stopping = True
            task.cancel()

    async def ended(self, timeout: float) -> None:
        """Wait up to `timeout` seconds for the handlers that there are now."""
        if self._handlers:
            await asyncio.wait(list(self._handlers), timeout=timeout)


def _current() -> asyncio.Task[Any]:
    task = asyncio.current_task()
    assert task is not None, "grpc.aio runs every handler in a task"
    return task
