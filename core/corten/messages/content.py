"""Blobs and ingests."""

from corten import digests
from corten.api.services.content.v1 import content_pb2 as pb
from corten.contracts.content import ContentInfo, IngestStatus

from .values import time_of, timestamp


def info(message: pb.Info) -> ContentInfo:
    """Raises InvalidArgument for a malformed digest."""
    created, updated = time_of(message.created_at), time_of(message.updated_at)
    return ContentInfo(checked(message.digest), message.size, created, updated, dict(message.labels))


def info_message(value: ContentInfo) -> pb.Info:
    return pb.Info(
        digest=value.digest,
        size=value.size,
        created_at=timestamp(value.created_at),
        updated_at=timestamp(value.updated_at),
        labels=dict(value.labels),
    )


def status(message: pb.Status) -> IngestStatus:
    return IngestStatus(
        message.ref,
        message.offset,
        message.total,
        message.expected,
        time_of(message.started_at),
        time_of(message.updated_at),
    )


def status_message(value: IngestStatus) -> pb.Status:
    return pb.Status(
        started_at=timestamp(value.started_at),
        updated_at=timestamp(value.updated_at),
        ref=value.ref,
        offset=value.offset,
        total=value.total,
        expected=value.expected,
    )


def checked(digest: str) -> str:
    """The digest itself. Raises InvalidArgument if it is malformed."""
    digests.parse(digest)
    return digest
