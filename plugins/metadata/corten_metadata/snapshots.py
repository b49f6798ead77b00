"""A namespace's view of a snapshotter: its keys and names, its labels; the trees themselves are the backend's.

In the backend a snapshot is called `NAMESPACE/NUMBER/KEY`, so that namespaces do not meet. Labels under
`containerd.io/snapshot/` (and the target reference) are handed on, all others stay here.

Nothing happens in the backend inside a transaction. Making a snapshot is: look, work in the backend, record; what was
made is removed again if it cannot be recorded. Committing is the same, and cannot be taken back; after a crash in
between, the committed snapshot is unknown here and is removed by the collector, and so is the key that lost its tree.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial

from corten import fieldpaths as masks
from corten import filters as filter_rules
from corten import labels as label_rules
from corten.api.events.snapshot_pb2 import SnapshotCommit, SnapshotPrepare, SnapshotRemove
from corten.contracts.mounts import Mount
from corten.contracts.scope import Scope
from corten.contracts.snapshots import Repairer, SnapshotInfo, Snapshotter, Syncer, Usage
from corten.errors import AlreadyExists, FailedPrecondition, NotFound, Unimplemented

from . import resources, rows, schema
from .common import Common
from .gc.nodes import snapshot as node
from .records import SnapshotRecord
from .snapshot_creation import Creation
from .snapshot_rows import inherited, link, unlink
from .transactions import Writing


class NamespacedSnapshotter:
    """Fulfils `Snapshotter` for one scope."""

    def __init__(self, common: Common, scope: Scope, name: str, backend: Snapshotter) -> None:
        self._common = common
        self._scope = scope
        self._name = name
        self._backend = backend
        self._rows = rows.snapshots(scope.namespace, name)

    def __repr__(self) -> str:
        return f"NamespacedSnapshotter({self._scope.namespace}, {self._name})"

    def stat(self, key: str) -> SnapshotInfo:
        record = self._record(key)
        return overlaid(self._backend.stat(record.backend_key), key, record)

    def update(self, info: SnapshotInfo, fieldpaths: Sequence[str] = ()) -> SnapshotInfo:
        what = f"snapshot {rows.shown(info.name)} in {self._name}"
        with self._common.holds.alone(self._lock(info.name)):
            record = self._record(info.name)
            labels = masks.merged_labels(record.labels, info.labels, fieldpaths, what)
            inner = SnapshotInfo(record.backend_key, labels=inherited(labels))
            self._backend.update(inner, fieldpaths)

            def work(txn: Writing) -> SnapshotRecord:
                old = self._rows.require(txn, info.name)
                updated = replace(old, labels=labels, updated_at=time.time_ns())
                self._rows.put(txn, info.name, updated)
                return updated

            updated = self._common.store.write(work)
        return overlaid(self._backend.stat(record.backend_key), info.name, updated)

    def usage(self, key: str) -> Usage:
        return self._backend.usage(self._record(key).backend_key)

    def mounts(self, key: str) -> list[Mount]:
        return self._backend.mounts(self._record(key).backend_key)

    def prepare(self, key: str, parent: str = "", labels: Mapping[str, str] | None = None) -> list[Mount]:
        mounts = self._create(key, parent, labels, readonly=False)
        event = SnapshotPrepare(key=key, parent=parent, snapshotter=self._name)
        self._common.publish(self._scope.namespace, "/snapshot/prepare", event)
        return mounts

    def view(self, key: str, parent: str = "", labels: Mapping[str, str] | None = None) -> list[Mount]:
        return self._create(key, parent, labels, readonly=True)

    def commit(self, name: str, key: str, labels: Mapping[str, str] | None = None, parent: str = "") -> None:
        label_rules.validate(labels or {})
        with self._common.holds.alone(*(self._lock(each) for each in (name, key, parent) if each)):
            self._commit(name, key, label_rules.kept(labels or {}), parent)
        event = SnapshotCommit(key=key, name=name, snapshotter=self._name)
        self._common.publish(self._scope.namespace, "/snapshot/commit", event)

    def sync(self, keys: Sequence[str]) -> None:
        """Of `Syncer`; where the backend is none, each commit writes its tree to disk."""
        if isinstance(self._backend, Syncer):
            self._backend.sync([self._record(key).backend_key for key in keys])

    def replace(self, name: str, key: str) -> None:
        """Of `Repairer`. Raises Unimplemented where the backend is none."""
        if not isinstance(self._backend, Repairer):
            raise Unimplemented(f"snapshotter {self._name}: it does not repair snapshots (remove and make them anew)")
        with self._common.holds.alone(self._lock(name), self._lock(key)):
            self._backend.replace(self._record(name).backend_key, self._record(key).backend_key)
            self._common.store.write(partial(self._remove, key), removes=True)

    def remove(self, key: str) -> None:
        with self._common.holds.alone(self._lock(key)):
            record = self._common.store.write(partial(self._remove, key), removes=True)
        self._common.leftovers.add(f"snapshots/{self._name}", record.backend_key)
        event = SnapshotRemove(key=key, snapshotter=self._name)
        self._common.publish(self._scope.namespace, "/snapshot/remove", event)

    def walk(self, filters: Sequence[str] = ()) -> Iterator[SnapshotInfo]:
        matches = filter_rules.compile(filters)
        for key, record in self._rows.named(self._common.store):
            try:
                info = overlaid(self._backend.stat(record.backend_key), key, record)
            except NotFound:
                continue
            if matches(partial(_field, info)):
                yield info

    def close(self) -> None:
        """The backend belongs to its plugin; there is nothing to close here."""

    def _record(self, key: str) -> SnapshotRecord:
        with self._common.store.read() as view:
            return self._rows.require(view, key)

    def _lock(self, key: str) -> tuple[str, str, str]:
        return (self._scope.namespace, self._name, key)

    def _create(self, key: str, parent: str, labels: Mapping[str, str] | None, *, readonly: bool) -> list[Mount]:
        label_rules.validate(labels or {})
        kept = label_rules.kept(labels or {})
        creation = Creation(self._common, self._scope, self._name, self._backend, key, parent, kept, readonly)
        pins = [node(self._scope.namespace, self._name, parent)] if parent else []
        with self._common.holds.alone(self._lock(key)), self._common.holds.pinned(*pins):
            return creation.run()

    def _commit(self, name: str, key: str, labels: Mapping[str, str], parent: str) -> None:
        with self._common.store.read() as view:
            taken = self._rows.get(view, name) is not None
            record = None if taken else self._rows.require(view, key)
            parent = "" if record is None else record.parent or parent
            above = self._rows.require(view, parent) if parent else None
            if self._scope.lease:
                resources.require(view, self._scope)
        if record is None:
            self._common.store.write(lambda txn: resources.join(txn, self._scope, self._type, name))
            raise AlreadyExists(f"snapshot {rows.shown(name)} in {self._name}: it exists already")
        self._commit_in_backend(name, key, replace(record, parent=parent), above, labels)

    def _commit_in_backend(
        self, name: str, key: str, record: SnapshotRecord, above: SnapshotRecord | None, labels: Mapping[str, str]
    ) -> None:
        number = self._common.store.number()
        now = time.time_ns()
        made = SnapshotRecord(
            number, f"{self._scope.namespace}/{number}/{name}", record.parent,
            above.number if above else 0, now, now, labels,
        )  # fmt: skip
        rebase = above.backend_key if above and not record.parent_number else ""
        pins = [node(self._scope.namespace, self._name, each) for each in (key, record.parent) if each]
        with (
            self._common.holds.hold(self._thing(made.backend_key), self._thing(record.backend_key)),
            self._common.holds.pinned(*pins),
        ):
            self._backend.commit(made.backend_key, record.backend_key, inherited(labels), rebase)
            leased = self._common.store.write(partial(self._replace, name, key, made), vital=True)
        if not leased:
            raise NotFound(f"lease {rows.shown(self._scope.lease)}: it was deleted during the commit")

    def _replace(self, name: str, key: str, made: SnapshotRecord, txn: Writing) -> bool:
        """Put the committed snapshot in the place of the key; false if the lease is gone.

        The backend has committed: nothing here may fail for a reason that can be foreseen, hence the reserve too.
        """
        self._remove(key, txn, keep_children=True)
        link(txn, self._scope.namespace, self._name, name, made)
        if self._scope.lease and rows.leases(self._scope.namespace).get(txn, self._scope.lease) is None:
            return False
        resources.join(txn, self._scope, self._type, name)
        return True

    def _remove(self, key: str, txn: Writing, *, keep_children: bool = False) -> SnapshotRecord:
        record = self._rows.require(txn, key)
        children = schema.children(self._scope.namespace, record.number)
        if not keep_children and (number := sum(1 for _ in txn.entries(children, children))):
            raise FailedPrecondition(
                f"snapshot {rows.shown(key)} in {self._name}: it has {number} children; remove them first"
            )
        unlink(txn, self._scope.namespace, self._name, key, record)
        resources.leave(txn, self._scope, self._type, key)
        return record

    def _thing(self, backend_key: str) -> tuple[str, str]:
        return (f"snapshots/{self._name}", backend_key)

    @property
    def _type(self) -> str:
        return resources.snapshots(self._name)


def overlaid(inner: SnapshotInfo, key: str, record: SnapshotRecord) -> SnapshotInfo:
    """What the backend says of a snapshot, with what the namespace says laid over it."""
    return SnapshotInfo(
        key, inner.kind, record.parent, record.created_at, record.updated_at, {**inner.labels, **record.labels}
    )


def _field(info: SnapshotInfo, path: Sequence[str]) -> str | None:
    match path:
        case ["name"]:
            return info.name
        case ["parent"]:
            return info.parent
        case ["kind"]:
            return str(info.kind)
        case ["labels", *key]:
            return info.labels.get(".".join(key))
    return None
