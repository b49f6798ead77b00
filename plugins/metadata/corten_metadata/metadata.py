"""The metadata store: what exists in which namespace, kept in LMDB, with a view of the plugins behind for each scope.

`docs/architecture.md` tells the story; the layout is drawn in `schema`, the transactions are in `store`, the collector
in `gc`.
"""

import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NoReturn

from corten.contracts.content import ContentStore
from corten.contracts.events import Exchange
from corten.contracts.gc import GcStats
from corten.contracts.scope import Scope
from corten.contracts.snapshots import Snapshotter
from corten.errors import CortenError, InvalidArgument, Unavailable
from corten.tracing import span

from .common import Common
from .containers import Containers
from .content import NamespacedContent
from .environment import MAP_SIZE
from .gc.cleanup import Cleanup
from .gc.collection import collect
from .gc.further import FurtherCollector
from .images import Images
from .leases import Leases
from .namespaces import Namespaces
from .sandboxes import Sandboxes
from .snapshots import NamespacedSnapshotter
from .store import Statistics, Store


class LmdbMetadata:
    """Fulfils `Metadata`; `failures` tells why a snapshotter that exists is not there."""

    def __init__(
        self,
        folder: Path,
        content: ContentStore,
        snapshotters: Mapping[str, Snapshotter],
        exchange: Exchange,
        *,
        shared: bool = True,
        sync: bool = True,
        map_size: int = MAP_SIZE,
        max_leases: int = 0,
        failures: Callable[[], Mapping[str, BaseException]] = dict,
    ) -> None:
        self._common = Common(Store(folder, sync=sync, map_size=map_size), exchange)
        self._content = content
        self._snapshotters = dict(snapshotters)
        self._shared = shared
        self._failures = failures
        self._collectors: dict[str, FurtherCollector] = {}
        self._cleanup = Cleanup(self._common, content, self._snapshotters)
        self._collecting = threading.Lock()
        self._namespaces = Namespaces(self._common)
        self._leases = Leases(self._common, self.collect, max_leases)
        self._sandboxes = Sandboxes(self._common)

    def __repr__(self) -> str:
        return f"LmdbMetadata({self._common.store!r}, snapshotters={sorted(self._snapshotters)})"

    @property
    def namespaces(self) -> Namespaces:
        return self._namespaces

    @property
    def leases(self) -> Leases:
        return self._leases

    @property
    def sandboxes(self) -> Sandboxes:
        return self._sandboxes

    @property
    def statistics(self) -> Statistics:
        """Updates, commits and the map, since the start."""
        return self._common.store.statistics

    @property
    def next_expiry(self) -> int | None:
        """When something expires next (ns since the epoch), as far as known; None for never."""
        return self._common.alarm.next

    def containers(self, scope: Scope) -> Containers:
        return Containers(self._common, scope)

    def images(self, scope: Scope) -> Images:
        return Images(self._common, scope)

    def content(self, scope: Scope) -> NamespacedContent:
        return NamespacedContent(self._common, scope, self._content, shared=self._shared)

    def snapshotter(self, scope: Scope, name: str) -> NamespacedSnapshotter:
        backend = self._snapshotters.get(name)
        if backend is None:
            self._refuse(name)
        return NamespacedSnapshotter(self._common, scope, name, backend)

    def snapshotters(self) -> Mapping[str, Snapshotter]:
        return dict(self._snapshotters)

    def collect(self) -> GcStats:
        """Mark and sweep, then clean up the backends; `elapsed` leaves the latter out. One at a time."""
        with self._collecting, span("gc"):
            begin = time.monotonic()
            removed = collect(self._common, self._collectors)
            elapsed = time.monotonic() - begin
            self._cleanup.run()
        return GcStats(elapsed, len(removed))

    def on_update(self, listener: Callable[[bool], None]) -> None:
        """Call `listener(removes)` after each durable update, in the writer thread: it must be quick."""
        self._common.store.on_update(listener)

    def on_earlier_expiry(self, listener: Callable[[], None]) -> None:
        """Call `listener` when `next_expiry` has moved nearer; it must be quick."""
        self._common.alarm.on_earlier(listener)

    def register_collector(self, kind: str, collector: FurtherCollector) -> None:
        """Let the collector keep and remove resources of another plugin, as nodes of that kind."""
        with self._collecting:
            self._collectors[kind] = collector

    def close(self) -> None:
        """Wait for a collection and for the updates under way."""
        with self._collecting:
            self._common.store.close()

    def _refuse(self, name: str) -> NoReturn:
        failure = self._failures().get(name)
        if failure is None:
            known = ", ".join(sorted(self._snapshotters)) or "none"
            raise InvalidArgument(f"snapshotter {name[:80]!r}: there is no plugin of that name (there are: {known})")
        kind = type(failure) if isinstance(failure, CortenError) else Unavailable
        text = failure.message if isinstance(failure, CortenError) else f"{type(failure).__name__}: {failure}"
        raise kind(f"snapshotter {name!r}: the plugin did not start: {text}") from failure
