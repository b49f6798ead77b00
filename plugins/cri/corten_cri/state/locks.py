"""`Locks`: one lock for each id that somebody holds or waits for, and none for the others."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Locks:
    """Used on the event loop."""

    def __init__(self) -> None:
        self._locks: dict[str, tuple[asyncio.Lock, int]] = {}

    @asynccontextmanager
    async def holding(self, id: str) -> AsyncIterator[None]:
        """Wait for the lock of an id, and have it until the block ends."""
        lock, users = self._locks.get(id, (asyncio.Lock(), 0))
        self._locks[id] = (lock, users + 1)
        try:
            async with lock:
                yield
        finally:
            lock, users = self._locks[id]
            if users > 1:
                self._locks[id] = (lock, users - 1)
            else:
                del self._locks[id]
