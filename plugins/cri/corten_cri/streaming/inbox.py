"""`Inbox`: what came from the client for one stream and was not read yet; a full one holds up whoever fills it."""

import asyncio
from collections import deque

CAPACITY = 256 << 10
"""Bytes that may wait in one stream."""


class Inbox:
    """Filled by the task that reads the connection, emptied by one other."""

    def __init__(self, capacity: int = CAPACITY) -> None:
        self._capacity = capacity
        self._pieces: deque[bytes] = deque()
        self._size = 0
        self._ended = False
        self._discards = False
        self._changed = asyncio.Event()

    def __repr__(self) -> str:
        return f"Inbox({self._size} bytes{', ended' if self._ended else ''})"

    async def put(self, data: bytes) -> None:
        """Add bytes; waits while it is full."""
        while self._size >= self._capacity and not self._discards:
            self._changed.clear()
            await self._changed.wait()
        if data and not self._ended and not self._discards:
            self._pieces.append(data)
            self._size += len(data)
            self._changed.set()

    def end(self) -> None:
        """There will be no more."""
        self._ended = True
        self._changed.set()

    @property
    def has_ended(self) -> bool:
        """Whether nothing more will come; some may still wait to be read."""
        return self._ended or self._discards

    def discard(self) -> None:
        """Nobody reads any more: what is there and what comes is dropped."""
        self._discards = True
        self._pieces.clear()
        self._size = 0
        self._changed.set()

    async def read(self) -> bytes:
        """The next bytes; empty at the end."""
        while not self._pieces:
            if self._ended or self._discards:
                return b""
            self._changed.clear()
            await self._changed.wait()
        data = self._pieces.popleft()
        self._size -= len(data)
        self._changed.set()
        return data
