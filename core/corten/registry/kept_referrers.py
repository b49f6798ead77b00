"""Referrers that a content store keeps: labels of what they are about name them."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Protocol

from corten.contracts.descriptor import Descriptor
from corten.errors import NotFound
from corten.oci_image import documents, gc_labels, media_types
from corten.oci_image.model import Index, Manifest
from corten.values import dataclass

MAX_CHAIN = 4
"""Referrers of referrers: a signature of an attestation, say."""


@dataclass(frozen=True, slots=True)
class Referrer:
    """A manifest that has the image as its subject; `artifact_type` says what it is."""

    descriptor: Descriptor
    artifact_type: str = ""


class Labelled(Protocol):
    """A content store, as far as referrers are looked up in it."""

    async def read(self, digest: str, limit: int) -> bytes: ...
    async def labels(self, digest: str) -> Mapping[str, str]: ...


async def kept(source: Labelled, subject: str) -> list[Referrer]:
    """The referrers of a document that its labels keep and that are there, in the order of their digests.

    Raises NotFound for a document that is not there, InvalidArgument for a referrer that is malformed.
    """
    found = []
    for digest in gc_labels.referrers_in(await source.labels(subject)):
        with suppress(NotFound):  # removed by hand: labels do not hold against that
            found.append(_described(digest, await source.read(digest, documents.MAX_SIZE)))
    return found


def parsed(target: Descriptor, data: bytes, what: str = "") -> Index | Manifest:
    """An index or manifest. Raises InvalidArgument."""
    what = what or f"referrer {target.digest}"
    is_index = media_types.kind(target.media_type) == "index"
    return (documents.index if is_index else documents.manifest)(data, target.media_type, what)


def _described(digest: str, data: bytes) -> Referrer:
    document = documents.load(data, f"referrer {digest}")
    usual = media_types.OCI_INDEX if "manifests" in document else media_types.OCI_MANIFEST
    target = Descriptor(str(document.get("mediaType") or usual), digest, len(data))
    found = parsed(target, data)
    return Referrer(replace(target, annotations=found.annotations), found.listed_type)
