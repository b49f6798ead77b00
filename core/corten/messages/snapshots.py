"""Snapshots."""

from collections.abc import Mapping

from corten.api.services.snapshots.v1 import snapshots_pb2 as pb
from corten.contracts.snapshots import Kind, SnapshotInfo

from .values import time_of, timestamp

KINDS: Mapping[Kind, pb.Kind] = {
    Kind.VIEW: pb.VIEW,
    Kind.ACTIVE: pb.ACTIVE,
    Kind.COMMITTED: pb.COMMITTED,
}


def info(message: pb.Info) -> SnapshotInfo:
    """A kind that is not known is taken for active."""
    return SnapshotInfo(
        name=message.name,
        kind=next((kind for kind, number in KINDS.items() if number == message.kind), Kind.ACTIVE),
        parent=message.parent,
        created_at=time_of(message.created_at),
        updated_at=time_of(message.updated_at),
        labels=dict(message.labels),
    )


def info_message(value: SnapshotInfo) -> pb.Info:
    return pb.Info(
        name=value.name,
        parent=value.parent,
        kind=KINDS[value.kind],
        created_at=timestamp(value.created_at),
        updated_at=timestamp(value.updated_at),
        labels=dict(value.labels),
    )
