"""Blobs and ingests."""

from corten import digests
from corten.api.services.content.v1 import content_pb2 as pb
from corten.contracts.content import ContentInfo, IngestStatus

from .values import timestamp


def info(message: pb.Info) -> ContentInfo:
    """What an update may say of a blob. Raises InvalidArgument for a malformed digest."""
    return ContentInfo(checked(message.digest), message.size, labels=dict(message.labels))


def info_message(value: ContentInfo) -> pb.Info:
    return pb.Info(
        digest=value.digest,
        size=value.size,
        created_at=timestamp(value.created_at),
        updated_at=timestamp(value.updated_at),
        labels=dict(value.labels),
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
