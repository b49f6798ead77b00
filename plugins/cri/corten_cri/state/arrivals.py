"""`Arrivals`: two requests to make what can be there once join, or the later replaces what the earlier left unclaimed.

A client that gave up waiting asks again under the same name. The earlier request still runs, or has made something
whose id nobody was told: the second gets that, if it asks for the same.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from corten.wire.service import CallContext


@dataclass(slots=True)
class _UnderWay:
    asked: bytes
    making: asyncio.Future[str]


class Arrivals:
    """By name. Used on the event loop."""

    def __init__(self) -> None:
        self._under_way: dict[str, _UnderWay] = {}
        self._unclaimed: dict[str, bytes] = {}

    async def make(
        self,
        name: str,
        asked: bytes,
        call: CallContext,
        make: Callable[[], Awaitable[str]],
        settle: Callable[[bytes | None], Awaitable[str | None]],
    ) -> str:
        """The id of what is there under the name now.

        `settle(earlier)` is called when nothing of that name is under way: it returns the id of what is there if that
        is what was asked for, removes it if it may go, or raises AlreadyExists. `earlier` is what was asked for when it
        was made, if whoever asked has never been told of it.
        """
        while found := self._under_way.get(name):
            if found.asked == asked:
                return await asyncio.shield(found.making)
            await asyncio.wait([found.making])
        making = asyncio.ensure_future(self._settled_or_made(name, make, settle))
        self._under_way[name] = _UnderWay(asked, making)
        making.add_done_callback(lambda done: self._ended(name, done))
        id = await asyncio.shield(making)
        if call.client_gone:
            self._unclaimed[name] = asked
        else:
            self._unclaimed.pop(name, None)
        return id

    def abandon(self, name: str) -> None:
        """What there is under that name is the rest of a failure: the next request of the name replaces it."""
        self._unclaimed[name] = b""

    def forget(self, name: str) -> None:
        """What had that name is gone."""
        self._unclaimed.pop(name, None)

    async def _settled_or_made(
        self,
        name: str,
        make: Callable[[], Awaitable[str]],
        settle: Callable[[bytes | None], Awaitable[str | None]],
    ) -> str:
        return await settle(self._unclaimed.get(name)) or await make()

    def _ended(self, name: str, done: asyncio.Future[str]) -> None:
        self._under_way.pop(name, None)
