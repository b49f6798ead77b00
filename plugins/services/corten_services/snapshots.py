"""The service `Snapshots`: the file trees of every snapshotter, as the caller's namespace sees them."""

from collections.abc import AsyncIterator

from corten.api.services.snapshots.v1 import snapshots_pb2 as pb
from corten.contracts.metadata import Metadata
from corten.contracts.snapshots import Cleaner, Snapshotter
from corten.errors import Unimplemented
from corten.messages.snapshots import info, info_message
from corten.messages.values import mount_messages, named, present, sought
from corten.pools import Pools
from corten.wire.service import CallContext, cancellable
from google.protobuf.empty_pb2 import Empty

from .paging import pages

_KEY = "key of the snapshot"


class SnapshotsService:
    """A thin layer over the metadata store's view of the snapshotters."""

    def __init__(self, metadata: Metadata, pools: Pools) -> None:
        self._metadata = metadata
        self._pools = pools

    async def prepare(self, request: pb.PrepareSnapshotRequest, call: CallContext) -> pb.PrepareSnapshotResponse:
        snapshotter, key = self._of(request.snapshotter, call), named(request.key, _KEY)
        labels = dict(request.labels)
        mounts = await self._pools.run("snapshots", snapshotter.prepare, key, request.parent, labels)
        return pb.PrepareSnapshotResponse(mounts=mount_messages(mounts))

    async def view(self, request: pb.ViewSnapshotRequest, call: CallContext) -> pb.ViewSnapshotResponse:
        snapshotter, key = self._of(request.snapshotter, call), named(request.key, _KEY)
        labels = dict(request.labels)
        mounts = await self._pools.run("snapshots", snapshotter.view, key, request.parent, labels)
        return pb.ViewSnapshotResponse(mounts=mount_messages(mounts))

    @cancellable
    async def mounts(self, request: pb.MountsRequest, call: CallContext) -> pb.MountsResponse:
        snapshotter, key = self._of(request.snapshotter, call), sought(request.key, _KEY)
        return pb.MountsResponse(mounts=mount_messages(await self._pools.run("snapshots", snapshotter.mounts, key)))

    async def commit(self, request: pb.CommitSnapshotRequest, call: CallContext) -> Empty:
        snapshotter, key = self._of(request.snapshotter, call), sought(request.key, _KEY)
        name, labels = named(request.name, "name of the snapshot"), dict(request.labels)
        await self._pools.run("snapshots", snapshotter.commit, name, key, labels, request.parent)
        return Empty()

    async def remove(self, request: pb.RemoveSnapshotRequest, call: CallContext) -> Empty:
        await self._pools.run("snapshots", self._of(request.snapshotter, call).remove, sought(request.key, _KEY))
        return Empty()

    @cancellable
    async def stat(self, request: pb.StatSnapshotRequest, call: CallContext) -> pb.StatSnapshotResponse:
        snapshotter, key = self._of(request.snapshotter, call), sought(request.key, _KEY)
        return pb.StatSnapshotResponse(info=info_message(await self._pools.run("snapshots", snapshotter.stat, key)))

    async def update(self, request: pb.UpdateSnapshotRequest, call: CallContext) -> pb.UpdateSnapshotResponse:
        snapshotter, mask = self._of(request.snapshotter, call), list(request.update_mask.paths)
        present(request, "info")
        named(request.info.name, "name of the snapshot")
        updated = await self._pools.run("snapshots", snapshotter.update, info(request.info), mask)
        return pb.UpdateSnapshotResponse(info=info_message(updated))

    async def list(
        self, request: pb.ListSnapshotsRequest, call: CallContext
    ) -> AsyncIterator[pb.ListSnapshotsResponse]:
        snapshotter, filters = self._of(request.snapshotter, call), list(request.filters)
        async for found in self._pools.iterate("snapshots", lambda: snapshotter.walk(filters)):
            for page in pages(info_message(each) for each in found):
                yield pb.ListSnapshotsResponse(info=page)

    @cancellable
    async def usage(self, request: pb.UsageRequest, call: CallContext) -> pb.UsageResponse:
        snapshotter, key = self._of(request.snapshotter, call), sought(request.key, _KEY)
        used = await self._pools.run("snapshots", snapshotter.usage, key)
        return pb.UsageResponse(size=used.size, inodes=used.inodes)

    async def cleanup(self, request: pb.CleanupRequest, call: CallContext) -> Empty:
        """Concerns the snapshotter itself, whatever the namespace: what is left on disk belongs to nobody."""
        self._of(request.snapshotter, call)
        snapshotter = self._metadata.snapshotters().get(request.snapshotter)
        if not isinstance(snapshotter, Cleaner):
            raise Unimplemented(f'snapshotter "{request.snapshotter}": it removes at once and has nothing to clean up')
        await self._pools.run("snapshots", snapshotter.cleanup)
        return Empty()

    def _of(self, name: str, call: CallContext) -> Snapshotter:
        return self._metadata.snapshotter(call.scope(), named(name, "name of the snapshotter"))
