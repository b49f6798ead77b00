"""Blocking things that a stream holds open, closed in any case: `async with held(pools, "content", open) as it`.

A thread cannot be stopped. When the stream that waits for it is cancelled, a call that opens something must still have
its result closed, and nothing may be closed under a call that still uses it.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future
from contextlib import asynccontextmanager
from threading import Lock
from typing import Generic, ParamSpec, Protocol, TypeVar

from corten.errors import Cancelled
from corten.pools import Pools


class Closeable(Protocol):
    """What can be held."""

    def close(self) -> None: ...


R = TypeVar("R", bound=Closeable)
P = ParamSpec("P")
T = TypeVar("T")


class Held(Generic[R]):
    """A resource whose calls run one at a time in a pool, none of them after its close."""

    def __init__(self, pools: Pools, kind: str, resource: R) -> None:
        self.resource = resource
        self._pools = pools
        self._kind = kind
        self._lock = Lock()
        self._closed = False

    async def run(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run `call`, which may use the resource, in the pool."""

        def alone() -> T:
            with self._lock:
                if self._closed:
                    raise Cancelled("the stream that this call belongs to has ended")
                return call(*args, **kwargs)

        return await self._pools.run(self._kind, alone)

    def close(self) -> None:
        """Wait for a call under way, then close the resource."""
        with self._lock:
            if not self._closed:
                self._closed = True
                self.resource.close()


@asynccontextmanager
async def held(pools: Pools, kind: str, open: Callable[[], R]) -> AsyncIterator[Held[R]]:
    """Open in the pool, and close there at the end; both also when the caller is cancelled meanwhile."""
    opening = pools.submit(kind, open)
    try:
        resource = await asyncio.shield(asyncio.wrap_future(opening))
    except asyncio.CancelledError:
        opening.add_done_callback(lambda done: _close_orphan(pools, kind, done))
        raise
    lane = Held(pools, kind, resource)
    try:
        yield lane
    finally:
        await asyncio.shield(asyncio.wrap_future(pools.submit(kind, lane.close)))


def _close_orphan(pools: Pools, kind: str, opened: "Future[R]") -> None:
    """Nobody waits for the result any more, so it is closed, in the pool because closing may block."""
    if not opened.cancelled() and opened.exception() is None:
        pools.submit(kind, opened.result().close)
