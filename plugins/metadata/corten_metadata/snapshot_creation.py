"""Making a snapshot: prepare and view, with the protocol by which a remote snapshotter says that it has it already.

A preparation may name its *target*, the committed snapshot that it is for. If that exists in the namespace, or the
backend answers AlreadyExists because it has one with this label and parent, the target becomes the namespace's own and
the caller gets AlreadyExists: there is nothing to unpack.
"""

import json
import logging
import time
from collections.abc import Mapping

from corten.contracts.mounts import Mount
from corten.contracts.scope import Scope
from corten.contracts.snapshots import Kind, SnapshotInfo, Snapshotter
from corten.errors import AlreadyExists, CortenError, InvalidArgument, NotFound, Unknown
from corten.values import dataclass

from . import names, resources, rows
from .common import Common
from .records import SnapshotRecord
from .snapshot_rows import TARGET, inherited, link
from .transactions import Reading, Writing

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Creation:
    """One call; the caller keeps others from working on the same key."""

    common: Common
    scope: Scope
    snapshotter: str
    backend: Snapshotter
    key: str
    parent: str
    labels: Mapping[str, str]
    readonly: bool

    def run(self) -> list[Mount]:
        """Raises what `Snapshotter.prepare` raises."""
        names.encoded(self.key, "snapshot")
        with self.common.store.read() as view:
            existing = self._existing(view)
            above = self._above(view) if not existing else None
            if self.scope.lease:
                resources.require(view, self.scope)
        if existing:
            if found := self.common.store.write(self._join):
                raise self._exists(found)
            return self.run()  # it was collected just now
        number = self.common.store.number()
        backend_key = f"{self.scope.namespace}/{number}/{self.key}"
        with self.common.holds.hold(self._thing(backend_key)):
            return self._make(SnapshotRecord(number, backend_key), above)

    def _make(self, blank: SnapshotRecord, above: SnapshotRecord | None) -> list[Mount]:
        make = self.backend.view if self.readonly else self.backend.prepare
        try:
            mounts = make(blank.backend_key, above.backend_key if above else "", inherited(self.labels))
        except AlreadyExists as error:
            if not self.target:
                raise Unknown(f"snapshotter {self.snapshotter}: it has a new key already: {error.message}") from error
            self._adopt(blank.number, above)
            raise self._exists(self.target) from error
        try:
            self._enter(self.key, blank.number, blank.backend_key, above, self.labels)
        except BaseException:
            self._undo(blank.backend_key)
            raise
        return mounts

    def _adopt(self, number: int, above: SnapshotRecord | None) -> None:
        """Take the backend's own snapshot for the target into the namespace."""
        found = self._find(above.backend_key if above else "")
        with self.common.holds.hold(self._thing(found.name)):
            self.backend.stat(found.name)
            self._enter(self.target, number, found.name, above, {**found.labels, **self.labels})

    def _find(self, parent: str) -> SnapshotInfo:
        """A snapshotter may ignore filters, so that each answer is looked at again."""
        wanted = [f'labels."{TARGET}"=={json.dumps(self.target)},parent=={json.dumps(parent)}']
        for info in self.backend.walk(wanted):
            same = info.labels.get(TARGET) == self.target and info.parent == parent
            if same and info.kind is Kind.COMMITTED:
                return info
        raise NotFound(
            f"snapshotter {self.snapshotter}: it says it has target {self.target!r}, but lists no such snapshot"
        )

    def _enter(
        self, key: str, number: int, backend_key: str, above: SnapshotRecord | None, labels: Mapping[str, str]
    ) -> None:
        now = time.time_ns()
        record = SnapshotRecord(number, backend_key, self.parent, above.number if above else 0, now, now, labels)

        def work(txn: Writing) -> bool:
            resources.join(txn, self.scope, self._type, key)
            if self._rows.get(txn, key) is not None:
                return False
            self._check_parent(txn, above)
            link(txn, self.scope.namespace, self.snapshotter, key, record)
            return True

        if not self.common.store.write(work):
            raise self._exists(key)

    def _check_parent(self, view: Reading, above: SnapshotRecord | None) -> None:
        now = self._above(view)
        if now and above and now.number != above.number:
            raise InvalidArgument(f"snapshot {rows.shown(self.key)}: its parent {rows.shown(self.parent)} has changed")

    def _undo(self, backend_key: str) -> None:
        try:
            self.backend.remove(backend_key)
        except CortenError as error:
            log.warning("snapshotter %s: %s is left for gc: %s", self.snapshotter, backend_key, error)
            self.common.leftovers.add(f"snapshots/{self.snapshotter}", backend_key)

    def _existing(self, view: Reading) -> str:
        """The target or the key, if there is one already."""
        wanted = [name for name in (self.target, self.key) if name]
        return next((name for name in wanted if self._rows.get(view, name) is not None), "")

    def _join(self, txn: Writing) -> str:
        """Have in the lease what is there already; empty if that has gone."""
        existing = self._existing(txn)
        if existing:
            resources.join(txn, self.scope, self._type, existing)
        return existing

    def _above(self, view: Reading) -> SnapshotRecord | None:
        return self._rows.require(view, self.parent) if self.parent else None

    def _exists(self, name: str) -> AlreadyExists:
        return AlreadyExists(f"snapshot {rows.shown(name)} in {self.snapshotter}: it exists already")

    def _thing(self, backend_key: str) -> tuple[str, str]:
        return (f"snapshots/{self.snapshotter}", backend_key)

    @property
    def target(self) -> str:
        """The committed snapshot that this one is for; empty for none."""
        return self.labels.get(TARGET, "")

    @property
    def _rows(self) -> rows.Rows[SnapshotRecord]:
        return rows.snapshots(self.scope.namespace, self.snapshotter)

    @property
    def _type(self) -> str:
        return resources.snapshots(self.snapshotter)
