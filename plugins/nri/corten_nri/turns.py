"""Requests one after the other, and times in which plugins that connect must wait to be told the state of things."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from contextvars import ContextVar

_HOLDS: ContextVar[bool] = ContextVar("corten_nri_holds", default=False)


class Holding:
    """Any number hold at once; `alone` waits until nobody does, and those who come later wait for it.

    Whoever holds may hold again within, also while `alone` waits.
    """

    def __init__(self) -> None:
        self._holders = 0
        self._alone = asyncio.Lock()
        self._free = asyncio.Condition()

    @asynccontextmanager
    async def shared(self) -> AsyncIterator[None]:
        if not _HOLDS.get():
            async with self._alone:  # whoever waits to be alone goes first
                pass
        self._holders += 1
        token = _HOLDS.set(True)
        try:
            yield
        finally:
            _HOLDS.reset(token)
            self._holders -= 1
            if not self._holders:
                await asyncio.shield(self._tell())

    @asynccontextmanager
    async def alone(self) -> AsyncIterator[None]:
        async with self._alone:
            async with self._free:
                await self._free.wait_for(lambda: not self._holders)
            yield

    async def _tell(self) -> None:
        async with self._free:
            self._free.notify_all()
