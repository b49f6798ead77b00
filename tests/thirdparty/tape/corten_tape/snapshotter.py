"""A snapshotter that copies trees and keeps its records in one JSON file, written anew at each change."""

import json
import os
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from threading import RLock

from corten import filters as filter_language
from corten.contracts.mounts import Mount
from corten.contracts.snapshots import Kind, SnapshotInfo, Usage
from corten.errors import AlreadyExists, FailedPrecondition, NotFound


class TapeSnapshotter:
    """One folder per snapshot; thread-safe by one lock."""

    def __init__(self, root: str) -> None:
        self._root = Path(root)
        self._file = self._root / "records.json"
        self._lock = RLock()
        self._records: dict[str, tuple[SnapshotInfo, str]] = {}
        if self._file.exists():
            for raw, folder in json.loads(self._file.read_text()):
                info = SnapshotInfo(**{**raw, "kind": Kind(raw["kind"])})
                self._records[info.name] = (info, folder)

    def stat(self, key: str) -> SnapshotInfo:
        return self._get(key)[0]

    def update(self, info: SnapshotInfo, fieldpaths: Sequence[str] = ()) -> SnapshotInfo:
        with self._lock:
            old, folder = self._get(info.name)
            labels = dict(info.labels) if not fieldpaths or "labels" in fieldpaths else dict(old.labels)
            for path in fieldpaths:
                name = path.removeprefix("labels.")
                if name != path and name in info.labels:
                    labels[name] = info.labels[name]
            new = replace(old, labels=labels, updated_at=time.time_ns())
            self._records[info.name] = (new, folder)
            self._save()
            return new

    def usage(self, key: str) -> Usage:
        folder = self._path(self._get(key)[1])
        files = list(folder.rglob("*"))
        return Usage(sum(path.lstat().st_size for path in files if path.is_file()), len(files))

    def mounts(self, key: str) -> list[Mount]:
        info, folder = self._get(key)
        if info.kind is Kind.COMMITTED:
            raise FailedPrecondition(f"snapshot {key!r}: is committed and has no mounts")
        word = "ro" if info.kind is Kind.VIEW else "rw"
        return [Mount("bind", str(self._path(folder)), "", ("rbind", word))]

    def prepare(self, key: str, parent: str = "", labels: Mapping[str, str] | None = None) -> list[Mount]:
        return self._make(key, parent, labels, Kind.ACTIVE)

    def view(self, key: str, parent: str = "", labels: Mapping[str, str] | None = None) -> list[Mount]:
        return self._make(key, parent, labels, Kind.VIEW)

    def commit(self, name: str, key: str, labels: Mapping[str, str] | None = None, parent: str = "") -> None:
        with self._lock:
            info, folder = self._get(key)
            if info.kind is not Kind.ACTIVE:
                raise FailedPrecondition(f"snapshot {key!r}: only an active one can be committed")
            if name in self._records:
                raise AlreadyExists(f"snapshot {name!r}: exists")
            del self._records[key]
            new = replace(info, name=name, kind=Kind.COMMITTED, labels=dict(labels or {}))
            self._records[name] = (new, folder)
            self._save()

    def remove(self, key: str) -> None:
        with self._lock:
            _, folder = self._get(key)
            if any(info.parent == key for info, _ in self._records.values()):
                raise FailedPrecondition(f"snapshot {key!r}: cannot remove, it has children")
            del self._records[key]
            self._save()
            shutil.rmtree(self._path(folder))

    def walk(self, filters: Sequence[str] = ()) -> Iterator[SnapshotInfo]:
        matches = filter_language.compile(filters)
        for name in sorted(self._records):
            info = self._records[name][0]
            if matches(lambda path, info=info: getattr(info, path[0], None)):  # type: ignore[misc]
                yield info

    def close(self) -> None:
        """Nothing is open."""

    def _make(self, key: str, parent: str, labels: Mapping[str, str] | None, kind: Kind) -> list[Mount]:
        with self._lock:
            if key in self._records:
                raise AlreadyExists(f"snapshot {key!r}: exists")
            folder = f"{time.time_ns()}"
            if parent:
                self._copy(self._get(parent)[1], folder)
            else:
                self._path(folder).mkdir(mode=0o755, parents=True)
            now = time.time_ns()
            self._records[key] = (SnapshotInfo(key, kind, parent, now, now, dict(labels or {})), folder)
            self._save()
            return self.mounts(key)

    def _copy(self, source: str, target: str) -> None:
        self._path(target).parent.mkdir(parents=True, exist_ok=True)
        status = os.spawnlp(os.P_WAIT, "cp", "cp", "-a", str(self._path(source)), str(self._path(target)))
        if status:
            raise FailedPrecondition(f"cp ended with {status}")

    def _get(self, key: str) -> tuple[SnapshotInfo, str]:
        if key not in self._records:
            raise NotFound(f"snapshot {key!r}: not found in tape")
        return self._records[key]

    def _path(self, folder: str) -> Path:
        return self._root / "trees" / folder

    def _save(self) -> None:
        rows = [({name: getattr(info, name) for name in SnapshotInfo.__dataclass_fields__}, folder)
                for info, folder in self._records.values()]  # fmt: skip
        self._file.with_suffix(".new").write_text(json.dumps(rows))
        self._file.with_suffix(".new").rename(self._file)
