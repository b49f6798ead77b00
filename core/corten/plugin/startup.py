"""`Startup`: how far a start has come, for those who wait for a plugin or for all of it. Used on the event loop."""

import asyncio
from collections.abc import Callable, Iterable

from corten.errors import NotFound, Unavailable


class Startup:
    """One start of these plugins; it ends once, by `end`.

    `wanted` is told of each that somebody waits for.
    """

    def __init__(self, uris: Iterable[str], wanted: Callable[[str], None]) -> None:
        self._wanted = wanted
        self._settled = {uri: asyncio.Event() for uri in uris}
        self._ended = asyncio.Event()
        self._failure = ""

    def __repr__(self) -> str:
        waiting = sum(not each.is_set() for each in self._settled.values())
        return f"Startup({'ended' if self._ended.is_set() else f'{waiting} of {len(self._settled)} not settled'})"

    def settle(self, uri: str) -> None:
        """That plugin has started or failed."""
        self._settled[uri].set()

    def end(self, failure: str = "") -> None:
        """The daemon is up; or it will not be, for that reason."""
        self._failure = failure
        for each in (*self._settled.values(), self._ended):
            each.set()

    async def settled(self, uri: str) -> None:
        """Wait until that plugin has started or failed. Raises NotFound if there is none."""
        if uri not in self._settled:
            raise NotFound(f"plugin {uri}: there is none of that name")
        if not self._settled[uri].is_set():
            self._wanted(uri)
        await self._settled[uri].wait()

    async def after(self, uri: str) -> None:
        """As `settled`, of a plugin that waits for another: it is in no more haste than who waits for itself."""
        await self._settled[uri].wait()

    async def booted(self) -> None:
        """Wait until the daemon is up. Raises Unavailable, with the reason, if that fails."""
        await self._ended.wait()
        if self._failure:
            raise Unavailable(f"the daemon did not start: {self._failure}")
