"""A subscriber's queue: filled from any thread, read on one event loop, and ended at a stated bound."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable
from types import TracebackType
from typing import Any

from corten.contracts.events import Envelope
from corten.errors import CortenError, ResourceExhausted
from corten.filters import Filter, Lookup

from .bounds import SUBSCRIBER_BOUND


class Subscription(AsyncGenerator[Envelope, None]):
    """Envelopes offered since it was made; one task reads it. It costs neither a thread nor a poll while it waits.

    A subscriber that falls `bound` envelopes behind is ended: what it had not read is dropped, and reading raises
    ResourceExhausted, so that it knows to look at the state of things anew.
    """

    def __init__(
        self,
        matches: Filter,
        bound: int = SUBSCRIBER_BOUND,
        on_close: Callable[["Subscription"], None] = lambda _: None,
    ) -> None:
        self._matches = matches
        self._bound = bound
        self._on_close = on_close
        self._loop = asyncio.get_running_loop()
        self._wake = asyncio.Event()
        self._signalled = False
        self._queue: deque[Envelope] = deque()
        self._error: CortenError | None = None
        self._closed = False

    def __repr__(self) -> str:
        return f"Subscription({len(self._queue)} of {self._bound} waiting{', ended' if self._closed else ''})"

    def offer(self, envelope: Envelope, lookup: Lookup) -> bool:
        """Queue what matches; False once there is nobody to read it. One thread at a time, any thread."""
        if self._closed or self._loop.is_closed():
            return False
        if not self._matches(lookup):
            return True
        if len(self._queue) < self._bound:
            self._queue.append(envelope)
        else:
            self._error = ResourceExhausted(
                f"event subscriber: it fell {self._bound} events behind (subscriber_bound) and is ended;"
                " read faster or narrow the filters, and subscribe again"
            )
        return self._signal() and self._error is None

    async def asend(self, value: None) -> Envelope:
        while not (self._queue and self._error is None):
            if self._error is not None or self._closed:
                raise self._end()
            self._wake.clear()
            await self._wake.wait()
        return self._queue.popleft()

    async def athrow(
        self, kind: Any, value: BaseException | object = None, trace: TracebackType | None = None
    ) -> Envelope:
        """End the subscription with an exception, as for any generator."""
        await self.aclose()
        raise kind if isinstance(kind, BaseException) else kind(value)

    async def aclose(self) -> None:
        """No more envelopes; harmless when called twice."""
        if not self._closed:
            self._closed = True
            self._queue.clear()
            self._wake.set()
            self._on_close(self)

    def _end(self) -> Exception:
        error, self._error = self._error, None
        if not self._closed:
            self._closed = True
            self._queue.clear()
            self._on_close(self)
        return error or StopAsyncIteration()

    def _signal(self) -> bool:
        """Wake the reader on its own loop, once for many envelopes."""
        if not self._signalled:
            self._signalled = True
            try:
                self._loop.call_soon_threadsafe(self._awaken)
            except RuntimeError:  # the loop has ended
                return False
        return True

    def _awaken(self) -> None:
        self._signalled = False
        if self._error is not None:
            self._queue.clear()
        self._wake.set()
