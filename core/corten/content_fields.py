"""The fields by which filters see blobs and ingests; the same in every content store."""

from collections.abc import Sequence

from corten.contracts.content import ContentInfo, IngestStatus


def of_info(info: ContentInfo, path: Sequence[str]) -> str | None:
    """`digest`, and `labels.KEY` (a key may have dots)."""
    match path:
        case ["digest"]:
            return info.digest
        case ["labels", *key]:
            return info.labels.get(".".join(key))
    return None


def of_status(status: IngestStatus, path: Sequence[str]) -> str | None:
    """`ref`."""
    return status.ref if list(path) == ["ref"] else None
