"""A whole set of services over the real metadata store, with one of everything in it, and a look at all of it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from corten.contracts.content import ContentInfo
from corten.contracts.descriptor import Descriptor
from corten.contracts.gc import GcStats
from corten.contracts.objects import AnyValue, Container, Image, Namespace, Resource, RuntimeInfo, Sandbox
from corten.contracts.runtime import CreateOptions, Stdio
from corten.contracts.scope import Scope
from corten.contracts.snapshots import Snapshotter
from corten.digests import of
from corten.plugin.model import PluginContext, Registration
from corten.plugin.record import PluginRecord
from corten.plugin.types import CONTENT, EVENT, GC, LEASE, METADATA, RUNTIME, SANDBOX_STORE, SERVICE
from corten.testing.calls import Caller
from corten.testing.context import FakeContext
from corten.testing.memory_content import MemoryContent
from corten.wire.service import Service
from corten_metadata.metadata import LmdbMetadata
from corten_services.exchange import EventExchange
from corten_snapshotters.registration import native
from services.doubles import MemoryRuntime, service

SCOPE = Scope("default")
BLOB = b"a blob"
RECORDS = ("namespaces", "containers", "images", "leases", "sandboxes", "snapshots")
ALL = (*RECORDS, "content", "diff", "tasks", "events", "introspection", "version")


class CountingCollector:
    """Collects, and counts how often."""

    def __init__(self, metadata: LmdbMetadata) -> None:
        self._metadata = metadata
        self.runs = 0

    def schedule_and_wait(self) -> GcStats:
        self.runs += 1
        return self._metadata.collect()


class CopyingDiffer:
    """Answers any layer with itself, and any difference with a blob."""

    def apply(self, layer: Descriptor, mounts: Any, content: Any, **_: Any) -> Descriptor:
        return layer

    def compare(self, lower: Any, upper: Any, content: Any, **_: Any) -> Descriptor:
        with content.writer("difference") as writer:
            writer.write(b"difference")
            return Descriptor("tar", writer.commit(), 10)


@dataclass
class World:
    """The parts that tests look at."""

    context: FakeContext
    metadata: LmdbMetadata
    collector: CountingCollector
    runtime: MemoryRuntime
    exchange: EventExchange

    def service(self, id: str) -> Service:
        return service(id, self.context)

    def caller(self, namespace: str = "default", lease: str = "", ids: tuple[str, ...] = RECORDS) -> Caller:
        return Caller(*(self.service(id) for id in ids), namespace=namespace, lease=lease)

    async def fill(self) -> None:
        """One of everything."""
        metadata = self.metadata
        metadata.namespaces.create(Namespace("blue", {"a": "1"}))
        for id in ("c", "d"):
            made = Container(id, runtime=RuntimeInfo("runc"), spec=AnyValue("spec", b"{}"))
            metadata.containers(SCOPE).create(made)
        metadata.sandboxes.create("default", Sandbox("pod"))
        metadata.leases.create("default", "l")
        metadata.leases.add("default", "l", Resource(of(b"later"), "content"))
        self._fill_content()
        metadata.images(SCOPE).create(Image("i", Descriptor("manifest", of(BLOB), len(BLOB))))
        self._fill_snapshots(metadata.snapshotter(SCOPE, "native"))
        task = await self.runtime.create("default", "c", CreateOptions(b"{}", (), Stdio(), RuntimeInfo("runc")))
        await task.exec("e", AnyValue("p"), Stdio())

    def _fill_content(self) -> None:
        content = self.metadata.content(SCOPE)
        with content.writer("blob") as writer:
            writer.write(BLOB)
            writer.commit()
        with content.writer("half") as writer:
            writer.write(b"ha")

    def _fill_snapshots(self, snapshots: Snapshotter) -> None:
        snapshots.prepare("first")
        snapshots.commit("done", "first")
        snapshots.view("v", "done")
        snapshots.prepare("k", "done")

    def look(self) -> Mapping[str, Any]:
        """All that is there, without times."""
        metadata = self.metadata
        content = metadata.content(SCOPE)
        return {
            "namespaces": [(each.name, dict(each.labels)) for each in metadata.namespaces.list()],
            "containers": [(each.id, dict(each.labels)) for each in metadata.containers(SCOPE).walk()],
            "images": [(each.name, dict(each.labels)) for each in metadata.images(SCOPE).walk()],
            "leases": {each.id: list(metadata.leases.resources("default", each.id)) for each in _leases(metadata)},
            "sandboxes": [(each.id, dict(each.labels)) for each in metadata.sandboxes.list("default")],
            "snapshots": [
                (each.name, each.kind, dict(each.labels)) for each in metadata.snapshotter(SCOPE, "native").walk()
            ],
            "content": [_blob(each) for each in content.walk()],
            "ingests": [(each.ref, each.offset) for each in content.statuses()],
            "tasks": [task.look() for task in self.runtime.tasks.values()],
            "busy": (repr(self.exchange), self.context.supervisor.running["operations"]),
        }


MakeWorld = Callable[..., World]
"""Makes worlds that are closed when the test ends; arguments as of `open_world`."""


def _leases(metadata: LmdbMetadata) -> Any:
    return metadata.leases.list("default")


def _blob(info: ContentInfo) -> tuple[str, dict[str, str]]:
    return info.digest, dict(info.labels)


def open_world(folder: Path, make_context: Any, **fields: Any) -> World:
    """An empty world with its files in `folder`; close its metadata. Made on the event loop."""
    own = FakeContext(folder / "native", folder / "state")
    snapshotter = cast("Snapshotter", native().init(cast("PluginContext", own)))
    own.pools.close()
    exchange, runtime = EventExchange(), MemoryRuntime()
    metadata = LmdbMetadata(folder / "meta", MemoryContent(), {"native": snapshotter}, exchange, sync=False)
    collector = CountingCollector(metadata)
    instances = {
        (METADATA, "lmdb"): metadata,
        (GC, "scheduler"): collector,
        (LEASE, "manager"): metadata.leases,
        (SANDBOX_STORE, "local"): metadata.sandboxes,
        (RUNTIME, "task"): runtime,
        (EVENT, "exchange"): exchange,
        (SERVICE, "diff-service"): CopyingDiffer(),
    }
    some = PluginRecord(Registration(type=CONTENT, id="some", init=lambda _: None))
    context = make_context(instances=instances, plugins={some.uri: some}, **fields)
    return World(context, metadata, collector, runtime, exchange)
