"""One large blob over several connections at once: ranges are fetched ahead and handed out in their order.

A registry or the network may limit the speed of one connection; the digest is made as the bytes are written, so that
the order matters and at most `ahead` ranges wait in memory.
"""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import suppress
from typing import TypeVar

from corten.values import dataclass

T = TypeVar("T")
Fetch = Callable[[int, int], Awaitable[T]]
"""`await fetch(start, end)`: the bytes from `start` up to, not including, `end`, in whatever form."""


@dataclass(frozen=True, slots=True)
class Ranges:
    """Blobs of which more than `threshold` bytes are wanted come in ranges of `size` bytes; `size` 0: never."""

    size: int = 4 << 20
    ahead: int = 3
    threshold: int = 32 << 20

    def apply(self, missing: int) -> bool:
        """Whether so many bytes are fetched in ranges."""
        return self.size > 0 and self.ahead > 1 and missing > self.threshold


async def in_order(fetch: Fetch[T], start: int, end: int, ranges: Ranges) -> AsyncGenerator[T, None]:
    """The ranges from `start` up to `end`. Raises what `fetch` raises, after what came before; ends all else then."""
    waiting: deque[asyncio.Future[T]] = deque()
    try:
        while start < end or waiting:
            while start < end and len(waiting) < ranges.ahead:
                stop = min(start + ranges.size, end)
                waiting.append(asyncio.ensure_future(fetch(start, stop)))
                start = stop
            yield await waiting[0]
            _ = waiting.popleft()
    finally:
        for task in waiting:
            task.cancel()
        for task in waiting:
            with suppress(Exception, asyncio.CancelledError):
                await task
