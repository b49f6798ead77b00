"""The plugin that starts collections: after deletions and updates, when asked, and when something expires."""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from threading import Lock
from typing import Protocol

from corten.contracts.gc import GcStats
from corten.contracts.metrics import Metric
from corten.errors import CortenError, Internal, Unavailable
from corten.pools import Pools
from corten.supervisor import Supervisor
from corten.tallies import Tally, Timings

from .pacing import Pacing, Rules

log = logging.getLogger(__name__)

LOOK_AGAIN = 60.0
"""Seconds after which an expiry is compared with the clock again, which somebody may have set."""


class Collectable(Protocol):
    """What the scheduler needs of a metadata store besides its contract."""

    @property
    def next_expiry(self) -> int | None: ...
    def collect(self) -> GcStats: ...
    def on_update(self, listener: Callable[[bool], None]) -> None: ...
    def on_earlier_expiry(self, listener: Callable[[], None]) -> None: ...


class Scheduler:
    """Fulfils `Collector` and `TellsMetrics`; runs in the pool `gc`, one collection at a time."""

    def __init__(self, metadata: Collectable, rules: Rules, pools: Pools, supervisor: Callable[[], Supervisor]) -> None:
        self._metadata = metadata
        self._pools = pools
        self._supervisor = supervisor
        self._lock = Lock()
        self._pacing = Pacing(rules, time.monotonic())
        self._waiting: list[Future[GcStats]] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._woken = asyncio.Event()
        self._closed = False
        self._ends = Tally("containerd_gc_collections_total", "Collections by how they ended.", ("status",))
        self._removed = Tally("corten_gc_removed_total", "Resources that collections removed.")
        self._times = Timings("containerd_gc_gc_seconds", "How long collections took.")
        metadata.on_update(self._updated)
        metadata.on_earlier_expiry(self._wake)

    def __repr__(self) -> str:
        return f"Scheduler({self._pacing}, waiting={len(self._waiting)})"

    async def start(self) -> None:
        """Begin to collect."""
        self._loop = asyncio.get_running_loop()
        self._supervisor().job("gc scheduler", self._run)

    def schedule_and_wait(self) -> GcStats:
        """As the contract says; before `start` the collection runs in the caller's thread."""
        if self._loop is None:
            return self._metadata.collect()
        done: Future[GcStats] = Future()
        with self._lock:
            if self._closed:
                raise Unavailable("gc: the daemon stops")
            self._waiting.append(done)
            self._pacing.requested(time.monotonic())
        self._wake()
        return done.result()

    def close(self) -> None:
        """Let go whoever waits."""
        with self._lock:
            self._closed = True
            waiting, self._waiting = self._waiting, []
        for each in waiting:
            each.set_exception(Unavailable("gc: the daemon stops"))

    async def tell_metrics(self) -> Sequence[Metric]:
        """As `TellsMetrics` says."""
        return [each.metric() for each in (self._ends, self._removed, self._times)]

    async def _run(self) -> None:
        while not self._closed:
            try:
                await asyncio.wait_for(self._woken.wait(), self._delay())
            except TimeoutError:
                pass  # it is time to look
            self._woken.clear()
            if self._due():
                await self._pools.run("gc", self._collect)

    def _collect(self) -> None:
        """Collect for everybody who has asked until now."""
        with self._lock:
            waiting, self._waiting = self._waiting, []
            self._pacing.collecting()
        try:
            stats = self._metadata.collect()
        except Exception as error:
            self._fail(waiting, error)
            return
        with self._lock:
            self._pacing.collected(time.monotonic(), stats.elapsed)
        self._ends.add("success")
        self._removed.add(by=stats.removed)
        self._times.note(stats.elapsed)
        log.debug("gc: %d resources removed in %.1f ms", stats.removed, stats.elapsed * 1000)
        for each in waiting:
            each.set_result(stats)

    def _fail(self, waiting: list[Future[GcStats]], error: Exception) -> None:
        if not self._closed:  # else the store was closed in the middle of it, and nobody need know
            log.error("gc: the collection failed and is tried again: %s", error, exc_info=error)
        self._ends.add("fail")
        with self._lock:
            self._pacing.failed(time.monotonic())
        for each in waiting:
            text = error.message if isinstance(error, CortenError) else repr(error)
            kind = type(error) if isinstance(error, CortenError) else Internal
            each.set_exception(kind(f"gc: {text}"))

    def _updated(self, removes: bool) -> None:
        with self._lock:
            before = self._pacing.due_at()
            self._pacing.updated(time.monotonic(), removes)
            sooner = self._pacing.due_at() != before
        if sooner:
            self._wake()

    def _due(self) -> bool:
        with self._lock:
            expiry = self._metadata.next_expiry
            if expiry is not None and expiry < time.time_ns():
                return True
            due = self._pacing.due_at()
            return due is not None and due <= time.monotonic()

    def _delay(self) -> float | None:
        """Seconds until the next look; None while nothing asks for one."""
        expiry = self._metadata.next_expiry
        with self._lock:
            due = self._pacing.due_at()
        delays = [] if due is None else [due - time.monotonic()]
        if expiry is not None:
            delays.append(min((expiry - time.time_ns()) / 10**9 + 0.001, LOOK_AGAIN))
        return max(min(delays), 0.0) if delays else None

    def _wake(self) -> None:
        """From any thread; a loop that is closed already needs nothing more."""
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._woken.set)
