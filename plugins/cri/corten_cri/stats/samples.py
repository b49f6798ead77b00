"""Figures of containers and pods as they are asked for, and from two of them the processor's use per second.

Nothing is sampled when nobody asks. What was read less than `period` ago is not read again; a first reading has the
average since the start.
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable

from corten.values import dataclass

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
    last: Sample | None = None


class Samples:
    """Used on the event loop. A reading that is wanted twice at a time is made once; `clock` is in ns."""

    def __init__(self, period: float, clock: Callable[[], int] = time.time_ns) -> None:
        self._period = int(period * 1e9)
        self._clock = clock
        self._known: OrderedDict[str, _Known] = OrderedDict()
        self._under_way: dict[str, asyncio.Future[Sample]] = {}
        self._slots = asyncio.Semaphore(AT_ONCE)

    async def take(self, id: str, read: Callable[[], Awaitable[Figures]], since: int = 0) -> Sample:
        """`since` is when it started, in ns since the epoch. Raises what `read` raises."""
        if (recent := self._recent(id)) is not None:
            return recent
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
        sample = Sample(figures, self._rate(id, figures, since))
        if figures.cpu is not None:
            self._keep(id, _Known(figures.at, figures.cpu.total, sample))
        return sample

    def _recent(self, id: str) -> Sample | None:
        known = self._known.get(id)
        return known.last if known is not None and 0 <= self._clock() - known.at < self._period else None

    def _rate(self, id: str, figures: Figures, since: int) -> int | None:
        if figures.cpu is None:
            return None
        total, known = figures.cpu.total, self._known.get(id)
        if known is None and since:
            known = _Known(since, 0)
        if known is None or known.total > total:  # a counter that went back: what is summed is less now
            return None
        passed = figures.at - known.at
        return (total - known.total) * 1_000_000_000 // passed if passed > 0 else None

    def _keep(self, id: str, known: _Known) -> None:
        self._known[id] = known
        self._known.move_to_end(id)
        while len(self._known) > MAX_KNOWN:
            self._known.popitem(last=False)
