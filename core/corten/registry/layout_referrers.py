"""What an image layout has about its images, signatures say, apart from the images.

An annotation of index.json tells it (containerd, Corten), or a list under a tag, as in a registry without the API of
referrers (regctl), or the subject of a manifest that has no name of its own (oras).
"""

import re

from corten.contracts.descriptor import Descriptor
from corten.errors import NotFound
from corten.oci_image import documents, media_types
from corten.oci_image.model import Index, IndexEntry
from corten.oci_image.oci_names import IMAGE_NAME, REF_NAME, SUBJECT
from corten.values import dataclass

from .kept_referrers import parsed
from .sink import BlobSink

_LIST = re.compile(r"(sha256)-([0-9a-f]{64})")
"""https://github.com/opencontainers/distribution-spec/blob/main/spec.md#referrers-tag-schema"""


@dataclass(frozen=True, slots=True)
class About:
    """A document that is about another one, which is given by its digest."""

    subject: str
    target: Descriptor


async def apart(index: Index, sink: BlobSink) -> tuple[list[IndexEntry], list[About]]:
    """The entries of index.json that are images or may be, and what is about others. Raises InvalidArgument."""
    images, about = list[IndexEntry](), list[About]()
    for entry in index.entries:
        found = await _about(entry.descriptor, sink)
        if found is None:
            images.append(entry)
        about += found or []
    return images, about


async def _about(target: Descriptor, sink: BlobSink) -> list[About] | None:
    """None for an image."""
    kind, tag = media_types.kind(target.media_type), target.annotations.get(REF_NAME, "")
    if subject := target.annotations.get(SUBJECT):
        return [About(subject, target)]
    if kind == "index" and (named := _LIST.fullmatch(tag)):
        return [About(":".join(named.groups()), each) for each in await _listed(target, sink)]
    if kind in ("index", "manifest") and not tag and IMAGE_NAME not in target.annotations:
        return await _by_subject(target, sink)
    return None


async def _listed(target: Descriptor, sink: BlobSink) -> list[Descriptor]:
    what = f"list of referrers {target.digest} of the archive"
    try:
        data = await sink.read(target.digest, documents.MAX_SIZE)
    except NotFound:
        return []
    return [entry.descriptor for entry in documents.index(data, target.media_type, what).entries]


async def _by_subject(target: Descriptor, sink: BlobSink) -> list[About] | None:
    try:
        data = await sink.read(target.digest, documents.MAX_SIZE)
    except NotFound:
        return None
    subject = parsed(target, data, f"{target.digest} of the archive").subject
    return [About(subject, target)] if subject and await sink.exists(subject) else None
