"""`MemorySnapshotter`: a snapshotter that keeps records and makes no trees, for tests of what stands above."""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from threading import RLock

from corten import fieldpaths as masks
from corten import filters as filter_language
from corten import labels as label_rules
from corten.contracts.mounts import Mount
from corten.contracts.snapshots import Kind, SnapshotInfo, Usage
from corten.errors import AlreadyExists, FailedPrecondition, InvalidArgument, NotFound


class MemorySnapshotter:
    """Fulfils the whole contract but that its mounts lead nowhere; `cleanups` counts calls of `cleanup`."""

    def __init__(self) -> None:
        self._infos: dict[str, SnapshotInfo] = {}
        self._lock = RLock()
        self.cleanups = 0

    def __repr__(self) -> str:
        return f"MemorySnapshotter({len(self._infos)} snapshots)"

    def stat(self, key: str) -> SnapshotInfo:
        if not key:
            raise InvalidArgument("snapshot: its key is empty")
        with self._lock:
            if key not in self._infos:
                raise NotFound(f"snapshot {key[:160]!r} does not exist")
            return self._infos[key]

    def update(self, info: SnapshotInfo, fieldpaths: Sequence[str] = ()) -> SnapshotInfo:
        with self._lock:
            old = self.stat(info.name)
            labels = masks.merged_labels(old.labels, info.labels, fieldpaths, f"snapshot {info.name[:160]!r}")
            self._infos[info.name] = replace(old, labels=labels, updated_at=time.time_ns())
            return self._infos[info.name]

    def usage(self, key: str) -> Usage:
        self.stat(key)
        return Usage(0, 0)

    def mounts(self, key: str) -> list[Mount]:
        info = self.stat(key)
        if info.kind is Kind.COMMITTED:
            raise FailedPrecondition(f"snapshot {key[:160]!r} is committed and has no mounts")
        word = "rw" if info.kind is Kind.ACTIVE else "ro"
        return [Mount("bind", f"/nowhere/{abs(hash(key))}", options=(word, "rbind"))]

    def prepare(self, key: str, parent: str = "", labels: Mapping[str, str] | None = None) -> list[Mount]:
        return self._create(Kind.ACTIVE, key, parent, labels)

    def view(self, key: str, parent: str = "", labels: Mapping[str, str] | None = None) -> list[Mount]:
        return self._create(Kind.VIEW, key, parent, labels)

    def commit(self, name: str, key: str, labels: Mapping[str, str] | None = None, parent: str = "") -> None:
        with self._lock:
            info = self.stat(key)
            if info.kind is not Kind.ACTIVE:
                raise FailedPrecondition(f"snapshot {key[:160]!r} is {info.kind}: only an active one is committed")
            self._add(replace(_new(name, Kind.COMMITTED, info.parent, labels)))
            del self._infos[key]

    def remove(self, key: str) -> None:
        with self._lock:
            self.stat(key)
            children = [info.name for info in self._infos.values() if info.parent == key]
            if children:
                raise FailedPrecondition(f"snapshot {key[:160]!r} has the children {children[:3]}")
            del self._infos[key]

    def walk(self, filters: Sequence[str] = ()) -> Iterator[SnapshotInfo]:
        matches = filter_language.compile(filters)
        with self._lock:
            infos = sorted(self._infos.values(), key=lambda info: info.name.encode())
        return iter([info for info in infos if matches(lambda path, info=info: _field(info, path))])  # type: ignore[misc]

    def cleanup(self) -> None:
        self.cleanups += 1

    def close(self) -> None: ...

    def _create(self, kind: Kind, key: str, parent: str, labels: Mapping[str, str] | None) -> list[Mount]:
        with self._lock:
            if parent and self.stat(parent).kind is not Kind.COMMITTED:
                raise InvalidArgument(f"snapshot {parent[:160]!r} is not committed and cannot be a parent")
            self._add(_new(key, kind, parent, labels))
            return self.mounts(key)

    def _add(self, info: SnapshotInfo) -> None:
        if not info.name:
            raise InvalidArgument("snapshot: its key is empty")
        if info.name in self._infos:
            raise AlreadyExists(f"snapshot {info.name[:160]!r} exists already")
        self._infos[info.name] = info


def _new(name: str, kind: Kind, parent: str, labels: Mapping[str, str] | None) -> SnapshotInfo:
    label_rules.validate(labels or {})
    now = time.time_ns()
    return SnapshotInfo(name, kind, parent, now, now, label_rules.kept(labels or {}))


def _field(info: SnapshotInfo, path: Sequence[str]) -> str | None:
    if len(path) > 1 and path[0] == "labels":
        return info.labels.get(".".join(path[1:]))
    fields = {"name": info.name, "parent": info.parent, "kind": info.kind.value}
    return fields.get(path[0]) if len(path) == 1 else None
