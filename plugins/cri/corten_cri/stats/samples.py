"""Figures of containers and pods as they are asked for, and from two of them the processor's use per second.

Nothing is sampled when nobody asks. Two readings less than `period` apart share their rate with the one before; a
first reading has the average since the start.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from .figures import Figures

MAX_KNOWN = 20_000
"""Containers and pods whose last reading is kept."""
AT_ONCE = 32
"""Readings under way at a time."""


@dataclass(frozen=True, slots=True)
class Sample:
    """A reading; `nano_cores` is None where nothing can be said yet."""

    figures: Figures
    nano_cores: int | None


@dataclass(slots=True)
class _Known:
    at: int
    total: int
    rate: int | None


class Samples:
    """Used on the event loop. A reading that is wanted twice at a time is made once."""

    def __init__(self, period: float) -> None:
        self._period = int(period * 1e9)
        self._known: OrderedDict[str, _Known] = OrderedDict()
        self._under_way: dict[str, asyncio.Future[Sample]] = {}
        self._slots = asyncio.Semaphore(AT_ONCE)

    async def take(self, id: str, read: Callable[[], Awaitable[Figures]], since: int = 0) -> Sample:
        """`since` is when it started, in ns since the epoch. Raises what `read` raises."""
        work = self._under_way.get(id)
        if work is None:
            work = self._under_way[id] = asyncio.ensure_future(self._take(id, read, since))
            work.add_done_callback(lambda _: self._under_way.pop(id, None))
        return await asyncio.shield(work)

    def forget(self, id: str) -> None:
        """It is gone."""
        self._known.pop(id, None)

    async def _take(self, id: str, read: Callable[[], Awaitable[Figures]], since: int) -> Sample:
        async with self._slots:
            figures = await read()
        return Sample(figures, self._rate(id, figures, since))

    def _rate(self, id: str, figures: Figures, since: int) -> int | None:
        if figures.cpu is None:
            return None
        total, known = figures.cpu.total, self._known.get(id)
        if known is None and since:
            known = _Known(since, 0, None)
        if known is None or known.total > total:  # a counter that went back: what is summed is less now
            self._keep(id, _Known(figures.at, total, None))
            return None
        passed = figures.at - known.at
        if passed <= 0 or (known.rate is not None and passed < self._period):
            return known.rate
        rate = (total - known.total) * 1_000_000_000 // passed
        self._keep(id, _Known(figures.at, total, rate))
        return rate

    def _keep(self, id: str, known: _Known) -> None:
        self._known[id] = known
        self._known.move_to_end(id)
        while len(self._known) > MAX_KNOWN:
            self._known.popitem(last=False)
