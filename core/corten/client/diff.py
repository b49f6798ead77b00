"""Layers to trees and trees to layers, over the wire."""

from collections.abc import Mapping, Sequence

from google.protobuf.any_pb2 import Any
from google.protobuf.timestamp_pb2 import Timestamp

from corten.api.services.diff.v1 import diff_pb2 as pb
from corten.contracts.descriptor import Descriptor
from corten.contracts.mounts import Mount
from corten.messages.values import descriptor, descriptor_message, mount_messages

from .calls import Calls, methods

_RPC = methods(pb, "Diff")


class Diff:
    """The differs of a daemon; errors as `corten.contracts.diff.Differ`."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    async def apply(
        self,
        layer: Descriptor,
        mounts: Sequence[Mount],
        *,
        payloads: Mapping[str, bytes] | None = None,
        sync_fs: bool = False,
    ) -> Descriptor:
        """Unpack `layer` onto `mounts`; returns the descriptor of the uncompressed tar, its digest the diff id.

        `payloads` are for stream processors, each a `google.protobuf.Any`.
        """
        messages = {id: Any.FromString(payload) for id, payload in (payloads or {}).items()}
        request = pb.ApplyRequest(
            diff=descriptor_message(layer), mounts=mount_messages(mounts), payloads=messages, sync_fs=sync_fs
        )
        return descriptor((await self._calls.unary(_RPC["Apply"], request)).applied)

    async def compare(
        self,
        lower: Sequence[Mount],
        upper: Sequence[Mount],
        *,
        media_type: str = "",
        ref: str = "",
        labels: Mapping[str, str] | None = None,
        source_date_epoch: int | None = None,
    ) -> Descriptor:
        """Store the layer that turns `lower` into `upper`; `source_date_epoch` in seconds."""
        request = pb.DiffRequest(
            left=mount_messages(lower),
            right=mount_messages(upper),
            media_type=media_type,
            ref=ref,
            labels=dict(labels or {}),
            source_date_epoch=None if source_date_epoch is None else Timestamp(seconds=source_date_epoch),
        )
        return descriptor((await self._calls.unary(_RPC["Diff"], request)).diff)
