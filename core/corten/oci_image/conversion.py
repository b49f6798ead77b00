"""How an image is written otherwise: its media types as OCI's, its layers under another compression; pure.

Attestations are of another image than the converted one, and so are left out of its index.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from corten.contracts.descriptor import Descriptor
from corten.errors import InvalidArgument

from . import documents, media_types

COMPRESSIONS = ("none", "gzip", "zstd")
_TO_OCI = {
    media_types.DOCKER_LIST: media_types.OCI_INDEX,
    media_types.DOCKER_MANIFEST: media_types.OCI_MANIFEST,
    media_types.DOCKER_CONFIG: media_types.OCI_CONFIG,
}
_OF_THE_BLOB = (
    "io.containers.zstd-chunked.",
    "io.github.containers.zstd-chunked.",
    "io.containers.estargz.",
    "containerd.io/snapshot/",
)
"""Beginnings of annotations that tell where what lies in a compressed layer, or how a snapshotter finds it there.

Of zstd:chunked (containers/storage, pkg/chunked), eStargz (stargz-snapshotter, docs/estargz.md) and their like.
"""
_FOREIGN = "application/vnd.docker.image.rootfs.foreign.diff.tar"
_BASES = {
    # media type of the plain layer: what stands before the name of a compression
    media_types.OCI_LAYER: "+",
    media_types.DOCKER_LAYER: ".",
}


def check(compression: str) -> None:
    """Raises InvalidArgument for a compression that there is not; empty leaves layers as they are."""
    if compression and compression not in COMPRESSIONS:
        raise InvalidArgument(f"convert: there is no compression {compression[:80]!r} ({', '.join(COMPRESSIONS)})")


def oci(media_type: str) -> str:
    """OCI's media type for docker's; others as they are."""
    if media_type.startswith(_FOREIGN):
        rest = media_type.removeprefix(_FOREIGN).replace(".", "+")
        return f"application/vnd.oci.image.layer.nondistributable.v1.tar{rest}"
    if media_type.startswith(media_types.DOCKER_LAYER):
        return media_types.OCI_LAYER + media_type.removeprefix(media_types.DOCKER_LAYER).replace(".", "+")
    return _TO_OCI.get(media_type, media_type)


def can_change(layer: Descriptor) -> bool:
    """Whether a layer can be had under another compression: not those passed by reference only, nor encrypted ones.

    Raises InvalidArgument for an encrypted layer: who cannot read it cannot convert it.
    """
    if "encrypted" in layer.media_type:
        raise InvalidArgument(f"layer {layer.digest}: it is encrypted, and so cannot be compressed otherwise")
    return _base(layer.media_type) is not None


def compressed(media_type: str, compression: str) -> str:
    """The media type of a layer under a compression."""
    base = _base(media_type)
    assert base is not None
    return base if compression == "none" else f"{base}{_BASES[base]}{compression}"


def _base(media_type: str) -> str | None:
    return next((base for base in _BASES if media_type.startswith(base)), None)


def annotations(layer: Descriptor) -> dict[str, str]:
    """Those of a layer that are as true of its files under another compression."""
    return {key: value for key, value in layer.annotations.items() if not key.startswith(_OF_THE_BLOB)}


def manifest(document: Mapping[str, Any], config: Descriptor, layers: list[Descriptor], media_type: str) -> bytes:
    """The manifest with these parts in their place; all else as it was."""
    parts = {"config": documents.as_document(config), "layers": [documents.as_document(layer) for layer in layers]}
    return documents.dump({**document, "mediaType": media_type, **parts})


def index(document: Mapping[str, Any], entries: Sequence[Mapping[str, Any]], media_type: str) -> bytes:
    """The index with these entries in the place of its own."""
    return documents.dump({**document, "mediaType": media_type, "manifests": list(entries)})
