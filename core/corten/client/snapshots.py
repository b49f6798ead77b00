"""Snapshots of one snapshotter over the wire."""

from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence

from corten.api.services.snapshots.v1 import snapshots_pb2 as pb
from corten.contracts.mounts import Mount
from corten.contracts.snapshots import SnapshotInfo, Usage
from corten.messages.snapshots import info as snapshot_info
from corten.messages.values import mask, mounts

from .calls import Calls, methods

_RPC = methods(pb, "Snapshots")


class Snapshots:
    """`corten.contracts.snapshots.Snapshotter` with `await`; errors as there, and NotFound for the snapshotter."""

    def __init__(self, calls: Calls, snapshotter: str) -> None:
        self._calls = calls
        self.snapshotter = snapshotter

    async def stat(self, key: str) -> SnapshotInfo:
        request = pb.StatSnapshotRequest(snapshotter=self.snapshotter, key=key)
        return snapshot_info((await self._calls.unary(_RPC["Stat"], request)).info)

    async def update(self, info: SnapshotInfo, fieldpaths: Sequence[str] = ()) -> SnapshotInfo:
        message = pb.Info(name=info.name, labels=dict(info.labels))
        request = pb.UpdateSnapshotRequest(snapshotter=self.snapshotter, info=message, update_mask=mask(fieldpaths))
        return snapshot_info((await self._calls.unary(_RPC["Update"], request)).info)

    async def usage(self, key: str) -> Usage:
        answer = await self._calls.unary(_RPC["Usage"], pb.UsageRequest(snapshotter=self.snapshotter, key=key))
        return Usage(answer.size, answer.inodes)

    async def mounts(self, key: str) -> list[Mount]:
        answer = await self._calls.unary(_RPC["Mounts"], pb.MountsRequest(snapshotter=self.snapshotter, key=key))
        return mounts(answer.mounts)

    async def prepare(self, key: str, parent: str = "", labels: Mapping[str, str] | None = None) -> list[Mount]:
        request = pb.PrepareSnapshotRequest(
            snapshotter=self.snapshotter, key=key, parent=parent, labels=dict(labels or {})
        )
        return mounts((await self._calls.unary(_RPC["Prepare"], request)).mounts)

    async def view(self, key: str, parent: str = "", labels: Mapping[str, str] | None = None) -> list[Mount]:
        request = pb.ViewSnapshotRequest(
            snapshotter=self.snapshotter, key=key, parent=parent, labels=dict(labels or {})
        )
        return mounts((await self._calls.unary(_RPC["View"], request)).mounts)

    async def commit(self, name: str, key: str, labels: Mapping[str, str] | None = None, parent: str = "") -> None:
        request = pb.CommitSnapshotRequest(
            snapshotter=self.snapshotter, name=name, key=key, labels=dict(labels or {}), parent=parent
        )
        await self._calls.unary(_RPC["Commit"], request)

    async def remove(self, key: str) -> None:
        await self._calls.unary(_RPC["Remove"], pb.RemoveSnapshotRequest(snapshotter=self.snapshotter, key=key))

    async def walk(self, filters: Sequence[str] = ()) -> AsyncIterator[SnapshotInfo]:
        async for page in self.pages(filters):
            for found in page:
                yield found

    async def pages(self, filters: Sequence[str] = ()) -> AsyncGenerator[list[SnapshotInfo], None]:
        """As `walk`, in the lists that the daemon sends."""
        request = pb.ListSnapshotsRequest(snapshotter=self.snapshotter, filters=filters)
        async for answer in self._calls.server_stream(_RPC["List"], request):
            yield [snapshot_info(message) for message in answer.info]

    async def cleanup(self) -> None:
        """Have what removed snapshots left on disk deleted."""
        await self._calls.unary(_RPC["Cleanup"], pb.CleanupRequest(snapshotter=self.snapshotter))
