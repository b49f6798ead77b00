"""The service `Diff`: layers into trees, and trees into layers."""

from corten.api.services.diff.v1 import diff_pb2 as pb
from corten.contracts.diff import Differ
from corten.contracts.metadata import Metadata
from corten.messages.content import checked
from corten.messages.values import SECOND, descriptor, descriptor_message, mounts, nanoseconds, present
from corten.pools import Pools
from corten.wire.service import CallContext


class DiffService:
    """A thin layer over the ordered differs; blobs are read and written as the caller's namespace sees them."""

    def __init__(self, differ: Differ, metadata: Metadata, pools: Pools) -> None:
        self._differ = differ
        self._metadata = metadata
        self._pools = pools

    async def apply(self, request: pb.ApplyRequest, call: CallContext) -> pb.ApplyResponse:
        present(request, "diff")
        checked(request.diff.digest)
        content, layer = self._metadata.content(call.scope()), descriptor(request.diff)
        payloads = {key: payload.SerializeToString() for key, payload in request.payloads.items()}
        tree, sync = mounts(request.mounts), request.sync_fs
        call.checkpoint()
        applied = await self._pools.run(
            "diff", lambda: self._differ.apply(layer, tree, content, payloads=payloads, sync_fs=sync)
        )
        return pb.ApplyResponse(applied=descriptor_message(applied))

    async def diff(self, request: pb.DiffRequest, call: CallContext) -> pb.DiffResponse:
        content, lower, upper = self._metadata.content(call.scope()), mounts(request.left), mounts(request.right)
        epoch = nanoseconds(request.source_date_epoch) // SECOND if request.HasField("source_date_epoch") else None
        call.checkpoint()
        written = await self._pools.run(
            "diff",
            lambda: self._differ.compare(
                lower,
                upper,
                content,
                media_type=request.media_type,
                ref=request.ref,
                labels=dict(request.labels),
                source_date_epoch=epoch,
            ),
        )
        return pb.DiffResponse(diff=descriptor_message(written))
