"""`Turns`: who may run its init now, when many plugins could. Used on the event loop.

Most of an init are imports, which hold the interpreter: side by side all of them would end late, one after the other
some are up early. A plugin that somebody waits for comes first, with what it waits for itself. One that takes its time
loses its turn to the next and goes on beside it, so that a plugin that hangs holds up nobody.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager

AT_ONCE = 2
PATIENCE = 0.2
"""Seconds of a turn."""


class Turns:
    """`before` is what each waits for."""

    def __init__(self, before: Mapping[str, Sequence[str]]) -> None:
        self._before = before
        self._free = AT_ONCE
        self._waiting: dict[str, asyncio.Future[None]] = {}
        self._wanted: set[str] = set()

    def __repr__(self) -> str:
        return f"Turns({len(self._waiting)} waiting)"

    def want(self, uri: str) -> None:
        """Somebody waits for that plugin."""
        if uri not in self._wanted:
            self._wanted.add(uri)
            for each in self._before.get(uri, ()):
                self.want(each)

    @asynccontextmanager
    async def turn(self, uri: str) -> AsyncIterator[None]:
        """Wait for a turn, and have it. Whoever is cancelled here was so with all others: the start is over."""
        loop = asyncio.get_running_loop()
        self._waiting[uri] = loop.create_future()
        self._admit()
        await self._waiting[uri]
        del self._waiting[uri]
        turn = _Turn(self)
        late = loop.call_later(PATIENCE, turn.end)
        try:
            yield
        finally:
            late.cancel()
            turn.end()

    def give_back(self) -> None:
        """A turn has ended."""
        self._free += 1
        self._admit()

    def _admit(self) -> None:
        queue = [uri for uri, admitted in self._waiting.items() if not admitted.done()]
        for uri in sorted(queue, key=lambda uri: uri not in self._wanted)[: self._free]:  # stable
            self._free -= 1
            self._waiting[uri].set_result(None)


class _Turn:
    """Ends once."""

    def __init__(self, turns: Turns) -> None:
        self._turns: Turns | None = turns

    def end(self) -> None:
        turns, self._turns = self._turns, None
        if turns is not None:
            turns.give_back()
