"""What snapshotters on directories have in common: records and trees, changed together, and found again after a crash.

A subclass says how a tree is made on a parent and how it is mounted; the rest of the contract
(`corten.contracts.snapshots`) is here.
"""

import logging
import os
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from corten import fieldpaths as masks
from corten import filters as filter_language
from corten import labels as label_rules
from corten.contracts.mounts import Mount
from corten.contracts.snapshots import Kind, SnapshotInfo, Usage
from corten.errors import FailedPrecondition, InvalidArgument, ResourceExhausted, Unimplemented
from corten.linux import idmaps

# ruff: noqa: E402  (what is imported below exists on Linux only)
assert sys.platform != "win32"

from .records import Record, Records
from .soundness import Soundness
from .trees import Trees, flush, measure

log = logging.getLogger(__name__)

ID_MAPPING_LABELS = ("containerd.io/snapshot/uidmapping", "containerd.io/snapshot/gidmapping")
"""The maps of a snapshot whose owners are shifted where it is mounted (`corten.linux.idmaps`)."""


class DirectorySnapshotter(ABC):
    """Contract `Snapshotter` and `Cleaner` over a directory per snapshot."""

    rebases = False
    """Whether a snapshot may get its parent when it is committed."""

    def __init__(self, name: str, root: Path, *, sync_remove: bool = False) -> None:
        self._name = name
        self._sync_remove = sync_remove
        self._trees = Trees(root)
        self._records = Records(root / "metadata.db", name)
        self._soundness = Soundness(self._records, self._trees, name)
        self._synced: set[int] = set()
        """Ids of active snapshots whose trees are on disk already."""
        self._reconcile()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._trees.root})"

    @abstractmethod
    def _make(self, made: Path, kind: Kind, parent: int | None) -> None:
        """Fill the new directory `made` for a snapshot on the tree of `parent`."""

    def _unmappable(self) -> str:
        """Why snapshots cannot have mapped ids; empty if they can."""
        return "mapped ids are not supported here (no capability remap-ids)"

    @abstractmethod
    def _mounts(self, record: Record) -> list[Mount]:
        """The mounts of an active snapshot or a view."""

    def _has_work(self, kind: Kind) -> bool:
        """Whether a snapshot of that kind has a work directory."""
        return False

    def _shown(self, record: Record) -> SnapshotInfo:
        """The record as callers see it."""
        return record.info

    def stat(self, key: str) -> SnapshotInfo:
        """Raises DataLoss for one whose tree was damaged."""
        record = self._records.get(key)
        self._soundness.ensure(record)
        return self._shown(record)

    def update(self, info: SnapshotInfo, fieldpaths: Sequence[str] = ()) -> SnapshotInfo:
        with self._records.writing():
            old = self._records.get(info.name)
            title = self._records.title(info.name)
            labels = masks.merged_labels(old.info.labels, info.labels, fieldpaths, title)
            return self._shown(self._records.relabel(info.name, labels))

    def usage(self, key: str) -> Usage:
        """Of a committed snapshot measured when first asked for: its tree does not change any more."""
        record = self._records.get(key)
        if record.info.kind is Kind.VIEW or (record.info.kind is Kind.COMMITTED and record.usage.size >= 0):
            return record.usage
        usage, length = measure(self._trees.fs(record.id))
        if record.info.kind is Kind.COMMITTED:
            self._records.measured(record.id, usage, length)
        return usage

    def mounts(self, key: str) -> list[Mount]:
        record = self._records.get(key)
        if record.info.kind is Kind.COMMITTED:
            raise FailedPrecondition(f"{self._records.title(key)} is committed: view it or prepare a snapshot on it")
        self._synced.discard(record.id)
        return self._mounts(record)

    def prepare(self, key: str, parent: str = "", labels: Mapping[str, str] | None = None) -> list[Mount]:
        return self._create(Kind.ACTIVE, key, parent, labels or {})

    def view(self, key: str, parent: str = "", labels: Mapping[str, str] | None = None) -> list[Mount]:
        return self._create(Kind.VIEW, key, parent, labels or {})

    def commit(self, name: str, key: str, labels: Mapping[str, str] | None = None, parent: str = "") -> None:
        checked = _checked(labels or {})
        record = self._records.committable(name, key, parent)
        if parent and parent != record.info.parent and not self.rebases:
            title = self._records.title(key)
            raise Unimplemented(f"{title} cannot be committed on {parent!r}: {self._name} has no capability rebase")
        if record.id not in self._synced:
            flush(self._trees.fs(record.id))
        self._records.commit(name, key, checked, parent)
        self._synced.discard(record.id)
        self._soundness.committed(record.id)

    def sync(self, keys: Sequence[str]) -> None:
        ids = [self._records.get(key).id for key in keys]
        flush(self._trees.root)
        self._synced.update(ids)

    def replace(self, name: str, key: str) -> None:
        tree = self._trees.fs(self._records.get(key).id)
        flush(tree)
        with self._records.writing():
            old, new = self._records.replace(name, key)
            self._trees.swap(old, new)
        self._soundness.repaired(old)

    def remove(self, key: str) -> None:
        try:
            record = self._records.remove(key)
        except ResourceExhausted:
            self._trees.give_up_reserve()
            record = self._records.remove(key)
        if self._sync_remove:
            self._trees.delete(str(record.id))

    def walk(self, filters: Sequence[str] = ()) -> Iterator[SnapshotInfo]:
        matches = filter_language.compile(filters)
        infos = (self._shown(record) for record in self._records.walk())
        return (info for info in infos if matches(lambda path, info=info: field(info, path)))  # type: ignore[misc]

    def cleanup(self) -> None:
        with self._records.writing():
            waste = self._trees.waste(self._records.ids())
        for name in waste:
            self._trees.delete(name)
        self._trees.keep_reserve()

    def close(self) -> None:
        self._soundness.close()
        self._records.close()

    def _create(self, kind: Kind, key: str, parent: str, labels: Mapping[str, str]) -> list[Mount]:
        checked = _checked(labels)
        owner = self._mapped_root(checked, self._records.title(key))
        self._records.ensure_free(key)
        base = self._sound_parent(parent) if parent else None
        with self._trees.making() as made:
            self._make(made, kind, base)
            if owner is not None and base is not None:
                os.chown(made / "fs", *owner)
            return self._mounts(self._record_tree(made, kind, key, parent, checked))

    def _sound_parent(self, parent: str) -> int:
        record = self._records.committed(parent)
        self._soundness.ensure(record)
        return record.id

    def _mapped_root(self, labels: Mapping[str, str], title: str) -> tuple[int, int] | None:
        """Who owns the root of a snapshot with mapped ids, on the host; None without."""
        uids, gids = (labels.get(label, "") for label in ID_MAPPING_LABELS)
        if not uids and not gids:
            return None
        if not uids or not gids:
            raise InvalidArgument(f"{title}: give both labels {' and '.join(ID_MAPPING_LABELS)}, or none")
        if reason := self._unmappable():
            raise Unimplemented(f"{title}: {ID_MAPPING_LABELS[0]}: {reason}")
        return idmaps.host_root(uids), idmaps.host_root(gids)

    def _record_tree(self, made: Path, kind: Kind, key: str, parent: str, labels: Mapping[str, str]) -> Record:
        """Record and rename in one transaction: if the commit fails, the directory goes again."""
        placed = None
        try:
            with self._records.writing():
                record = self._records.create(key, kind, parent, labels)
                self._trees.place(made, record.id)
                placed = record.id
        except BaseException:
            if placed is not None:
                self._trees.withdraw(placed)
            raise
        return record

    def _reconcile(self) -> None:
        """After a crash: empty trees for active snapshots without one; what has no record is deleted by `cleanup`."""
        lost = []
        for id, kind in self._records.ids().items():
            if kind is Kind.COMMITTED and not self._trees.fs(id).is_dir():
                log.error("%s: the tree of committed snapshot %d is gone: %s", self._name, id, self._trees.fs(id))
                lost.append(id)
            elif kind is not Kind.COMMITTED and self._trees.restore(id, self._has_work(kind)):
                log.warning("%s: the tree of snapshot %d was lost; it starts empty", self._name, id)
        self._soundness.lost(lost)
        self.cleanup()


def field(info: SnapshotInfo, path: Sequence[str]) -> str | None:
    """The value of a filter field: name, parent, kind, labels.KEY."""
    match list(path):
        case ["name"]:
            return info.name
        case ["parent"]:
            return info.parent
        case ["kind"]:
            return info.kind.value
        case ["labels", *key] if key:
            return info.labels.get(".".join(key))
    return None


def with_label(info: SnapshotInfo, key: str, value: str) -> SnapshotInfo:
    """The same snapshot with one more label."""
    return replace(info, labels={**info.labels, key: value})


def _checked(labels: Mapping[str, str]) -> Mapping[str, str]:
    label_rules.validate(labels)
    return label_rules.kept(labels)
