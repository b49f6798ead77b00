"""What the metadata tests put behind the store: a snapshotter in memory, and a bench that holds all together."""

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from corten.contracts.content import ContentStore
from corten.contracts.descriptor import Descriptor
from corten.contracts.mounts import Mount
from corten.contracts.objects import AnyValue, Container, Image, RuntimeInfo
from corten.contracts.scope import Scope
from corten.contracts.snapshots import Kind, SnapshotInfo, Snapshotter, Usage
from corten.errors import AlreadyExists, FailedPrecondition, NotFound
from corten.testing.events import RecordingExchange
from corten.testing.memory_content import MemoryContent
from corten_metadata.content import NamespacedContent
from corten_metadata.metadata import LmdbMetadata
from corten_metadata.snapshots import NamespacedSnapshotter

TARGET = "containerd.io/snapshot.ref"
NS = Scope("ns")


class MemorySnapshotter:
    """Keeps snapshots in a dict; `remote` names targets that it has already, as a lazy-pulling snapshotter would."""

    def __init__(self, remote: Sequence[str] = ()) -> None:
        self.snapshots: dict[str, SnapshotInfo] = {}
        self.remote = set(remote)
        self.cleanups = 0
        self.in_prepare = threading.Event()
        self.may_go_on = threading.Event()
        self.may_go_on.set()
        self._lock = threading.Lock()

    def stat(self, key: str) -> SnapshotInfo:
        if key not in self.snapshots:
            raise NotFound(f"snapshot {key!r}: it does not exist")
        return self.snapshots[key]

    def update(self, info: SnapshotInfo, fieldpaths: Sequence[str] = ()) -> SnapshotInfo:
        self.snapshots[info.name] = replace(self.stat(info.name), labels=dict(info.labels))
        return self.snapshots[info.name]

    def usage(self, key: str) -> Usage:
        return Usage(len(self.stat(key).name), 1)

    def mounts(self, key: str) -> list[Mount]:
        return [Mount("bind", f"/snapshots/{self.stat(key).name}", options=("rbind",))]

    def prepare(self, key: str, parent: str = "", labels: Mapping[str, str] | None = None) -> list[Mount]:
        self.in_prepare.set()
        self.may_go_on.wait(10)
        target = (labels or {}).get(TARGET, "")
        if target in self.remote:
            self._make(f"remote-{target}", parent, Kind.COMMITTED, labels)
            raise AlreadyExists(f"target {target!r}: it exists already")
        return self._make(key, parent, Kind.ACTIVE, labels)

    def view(self, key: str, parent: str = "", labels: Mapping[str, str] | None = None) -> list[Mount]:
        return self._make(key, parent, Kind.VIEW, labels)

    def commit(self, name: str, key: str, labels: Mapping[str, str] | None = None, parent: str = "") -> None:
        with self._lock:
            old = self.stat(key)
            if old.kind is not Kind.ACTIVE:
                raise FailedPrecondition(f"snapshot {key!r}: it is not active")
            made = replace(old, name=name, kind=Kind.COMMITTED, parent=old.parent or parent, labels=dict(labels or {}))
            self.snapshots[name] = made
            del self.snapshots[key]

    def remove(self, key: str) -> None:
        with self._lock:
            self.stat(key)
            if any(each.parent == key for each in self.snapshots.values()):
                raise FailedPrecondition(f"snapshot {key!r}: it has children")
            del self.snapshots[key]

    def walk(self, filters: Sequence[str] = ()) -> Iterator[SnapshotInfo]:
        yield from [self.snapshots[name] for name in sorted(self.snapshots)]

    def cleanup(self) -> None:
        self.cleanups += 1

    def close(self) -> None:
        self.snapshots.clear()

    def _make(self, key: str, parent: str, kind: Kind, labels: Mapping[str, str] | None) -> list[Mount]:
        with self._lock:
            if kind is not Kind.COMMITTED and key in self.snapshots:
                raise AlreadyExists(f"snapshot {key!r}: it exists already")
            if parent and self.stat(parent).kind is not Kind.COMMITTED:
                raise FailedPrecondition(f"snapshot {parent!r}: it is not committed")
            now = time.time_ns()
            self.snapshots[key] = SnapshotInfo(key, kind, parent, now, now, dict(labels or {}))
        return self.mounts(key)


@dataclass
class Bench:
    """A metadata store on a folder of the test, with backends that the test can look into."""

    folder: Path
    shared: bool = True
    max_leases: int = 0
    content: MemoryContent = field(default_factory=MemoryContent)
    snapshotter: MemorySnapshotter = field(default_factory=MemorySnapshotter)
    exchange: RecordingExchange = field(default_factory=RecordingExchange)

    def __post_init__(self) -> None:
        self.store = self._opened()

    def reopen(self) -> None:
        """Stop, and start again on the same folder and backends."""
        self.store.close()
        self.store = self._opened()

    def put(self, data: bytes, scope: Scope = NS, labels: Mapping[str, str] | None = None) -> str:
        """Write a blob without announcing its digest; returns that."""
        with self.blobs(scope).writer(f"put-{hash(data)}") as writer:
            writer.write(data)
            return writer.commit(len(data), "", labels)

    def image(self, name: str, digest: str, *where: Scope, **labels: str) -> Image:
        """An image with a target; `_` in a label's name stands for `containerd.io/gc.`."""
        made = {key.replace("_", "containerd.io/gc.", 1): value for key, value in labels.items()}
        return self.store.images(where[0] if where else NS).create(
            Image(name, Descriptor("application/x", digest, 3), made)
        )

    def snapshots(self, scope: Scope = NS) -> NamespacedSnapshotter:
        return self.store.snapshotter(scope, "memory")

    def committed(self, name: str, parent: str = "", *where: Scope, **labels: str) -> None:
        """A committed snapshot; labels as in `image`."""
        made = {key.replace("_", "containerd.io/gc.", 1): value for key, value in labels.items()}
        snapshots = self.snapshots(where[0] if where else NS)
        snapshots.prepare(f"active-{name}", parent)
        snapshots.commit(name, f"active-{name}", made)

    def blobs(self, scope: Scope = NS) -> NamespacedContent:
        return self.store.content(scope)

    def kept_blobs(self, scope: Scope = NS) -> set[str]:
        return {info.digest for info in self.blobs(scope).walk()}

    def kept_snapshots(self, scope: Scope = NS) -> set[str]:
        return {info.name for info in self.snapshots(scope).walk()}

    def _opened(self) -> LmdbMetadata:
        content: ContentStore = self.content
        backend: Snapshotter = self.snapshotter
        snapshotters = {"memory": backend}
        return LmdbMetadata(
            self.folder, content, snapshotters, self.exchange, shared=self.shared, max_leases=self.max_leases
        )


def container(id: str, **fields: object) -> Container:
    """A container that is valid."""
    made = Container(id, runtime=RuntimeInfo("io.containerd.runc.v2"), spec=AnyValue("x", b"{}"))
    return replace(made, **fields)  # type: ignore[arg-type]
