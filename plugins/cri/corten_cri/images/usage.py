"""Disk use of snapshots, measured off the event loop and kept for a while; nothing is measured when nobody asks."""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence

from corten.contracts.metadata import Metadata
from corten.contracts.scope import Scope
from corten.contracts.snapshots import Kind, Snapshotter, Usage
from corten.errors import CortenError
from corten.pools import Pools
from corten.supervisor import Supervisor
from corten.values import dataclass

log = logging.getLogger(__name__)

POOL = "usage"
"""Kind of the threads that walk trees: apart from those that clients wait for."""


PATIENCE = 60.0
"""Seconds for which a measurement is waited for; then what is known is told, however old."""


@dataclass(frozen=True, slots=True)
class Measured:
    """A snapshot's use; `at` is when it was measured, in ns since the epoch."""

    kind: Kind
    usage: Usage
    at: int


class SnapshotUsage:
    """Of one namespace; what is older than `period` seconds is measured anew behind the answer."""

    def __init__(
        self,
        metadata: Metadata,
        scope: Scope,
        snapshotters: Sequence[str],
        root_of: Callable[[str], str],
        period: float,
        pools: Pools,
        supervisor: Supervisor,
    ) -> None:
        self._metadata = metadata
        self._scope = scope
        self._names = tuple(dict.fromkeys(snapshotters))
        self._root_of = root_of
        self._period = period
        self._pools = pools
        self._supervisor = supervisor
        self._known: dict[str, dict[str, Measured]] = {}
        self._at = 0.0
        self._under_way: asyncio.Future[None] | None = None

    @property
    def snapshotters(self) -> Sequence[str]:
        """Their ids, the default one first."""
        return self._names

    def root(self, snapshotter: str) -> str:
        """The folder where a snapshotter keeps its trees."""
        return self._root_of(snapshotter or self._names[0])

    def include(self, snapshotter: str) -> None:
        """One more that containers are made with."""
        if snapshotter and snapshotter not in self._names:
            self._names = (*self._names, snapshotter)
            self.outdated()

    async def all(self) -> Mapping[str, Mapping[str, Measured]]:
        """By snapshotter and key, up to two periods old: what is older, or `outdated`, is waited for."""
        refreshed = self._refreshed()
        if refreshed is not None and not self._within(2 * self._period):
            await asyncio.wait({refreshed}, timeout=PATIENCE)
        return self._known

    def outdated(self) -> None:
        """Snapshots were made or removed: whoever asks next waits for a new measurement."""
        self._at = 0.0

    async def of(self, snapshotter: str, key: str) -> Measured | None:
        """Of one snapshot, measured now if it is not known yet; None if it does not exist or cannot be measured."""
        self._refreshed()
        known = self._known.get(snapshotter or self._names[0], {}).get(key)
        if known is not None:
            return known
        try:
            store = self._metadata.snapshotter(self._scope, snapshotter or self._names[0])
            return await self._pools.run(POOL, _measure, store, key)
        except CortenError as error:
            log.debug("snapshot %s in %s: its use is not known: %s", key, snapshotter, error)
            return None

    def _refreshed(self) -> "asyncio.Future[None] | None":
        if self._under_way is None and not self._within(self._period):
            measuring = self._supervisor.operation("cri: disk use of snapshots", self._measure_all())
            self._under_way = asyncio.ensure_future(measuring)
            self._under_way.add_done_callback(self._measured)
        return self._under_way

    def _within(self, seconds: float) -> bool:
        return self._at > 0 and time.monotonic() - self._at <= seconds

    def _measured(self, done: "asyncio.Future[None]") -> None:
        self._under_way = None
        if not done.cancelled() and (error := done.exception()):
            log.warning("disk use of snapshots: %s", error)

    async def _measure_all(self) -> None:
        began = time.monotonic()
        for name in self._names:
            try:
                store = self._metadata.snapshotter(self._scope, name)
                self._known[name] = await self._pools.run(POOL, _survey, store, self._known.get(name, {}))
            except CortenError as error:
                log.warning("disk use of snapshots in %s: %s", name, error)
        self._at = began


def _survey(store: Snapshotter, known: Mapping[str, Measured]) -> dict[str, Measured]:
    """What is committed does not change and is measured once."""
    found: dict[str, Measured] = {}
    for info in list(store.walk()):
        before = known.get(info.name)
        if before is not None and before.kind is info.kind is Kind.COMMITTED:
            found[info.name] = Measured(info.kind, before.usage, time.time_ns())
            continue
        try:
            found[info.name] = Measured(info.kind, store.usage(info.name), time.time_ns())
        except CortenError as error:
            log.debug("snapshot %s: its use is not known: %s", info.name, error)
    return found


def _measure(store: Snapshotter, key: str) -> Measured:
    return Measured(Kind.ACTIVE, store.usage(key), time.time_ns())
