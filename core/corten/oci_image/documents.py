"""JSON documents of images to the model and back; what is malformed, ambiguous or too large is refused.

A document that could be read as an index and as a manifest is refused (CVE-2021-41190), and so is one whose own media
type is of another kind than that of the descriptor it was reached by.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from corten import digests
from corten.contracts.descriptor import Descriptor
from corten.errors import InvalidArgument, ResourceExhausted
from corten.platforms import Platform, normalise

from . import media_types
from .model import ImageConfig, Index, IndexEntry, Manifest

MAX_SIZE = 8 << 20
"""Bytes of a document."""
MAX_LAYERS = 4096
MAX_ENTRIES = 4096
"""Manifests of an index."""
MAX_FEATURES = 64
"""Features of a platform."""
_MAX_BLOB = 1 << 62


def load(data: bytes, what: str) -> dict[str, Any]:
    """A JSON object. Raises InvalidArgument, ResourceExhausted; `what` names the document in messages."""
    if len(data) > MAX_SIZE:
        raise ResourceExhausted(f"{what}: {len(data)} bytes are more than the {MAX_SIZE} allowed")
    try:
        document = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise InvalidArgument(f"{what}: it is not JSON: {error}") from error
    if not isinstance(document, dict):
        raise InvalidArgument(f"{what}: it is not a JSON object")
    return document


def dump(document: Mapping[str, Any]) -> bytes:
    """The same document gives the same bytes."""
    return json.dumps(document, separators=(",", ":"), sort_keys=True, ensure_ascii=False).encode()


def index(data: bytes, media_type: str, what: str) -> Index:
    """Raises InvalidArgument, ResourceExhausted."""
    document = _checked(data, media_type, what, has="manifests", lacks=("layers", "config", "fsLayers"))
    entries = _list(document, "manifests", MAX_ENTRIES, what)
    return Index(
        tuple(_entry(entry, what) for entry in entries),
        _texts(document, "annotations", what),
        _subject(document, what),
        _text(document, "artifactType", what),
    )


def manifest(data: bytes, media_type: str, what: str) -> Manifest:
    """Raises InvalidArgument, ResourceExhausted."""
    document = _checked(data, media_type, what, has="config", lacks=("manifests", "fsLayers"))
    layers = _list(document, "layers", MAX_LAYERS, what)
    return Manifest(
        config=descriptor(document["config"], what),
        layers=tuple(descriptor(layer, what) for layer in layers),
        annotations=_texts(document, "annotations", what),
        subject=_subject(document, what),
        artifact_type=_text(document, "artifactType", what),
    )


def config(data: bytes, what: str) -> ImageConfig:
    """Raises InvalidArgument, ResourceExhausted."""
    document = load(data, what)
    rootfs = document.get("rootfs") or {}
    if not isinstance(rootfs, dict):
        raise InvalidArgument(f"{what}: rootfs is not an object")
    diff_ids = _list(rootfs, "diff_ids", MAX_LAYERS, what)
    for diff_id in diff_ids:
        if not isinstance(diff_id, str):
            raise InvalidArgument(f"{what}: a diff id is not a text")
        digests.parse(diff_id)
    execution = document.get("config") or {}
    if not isinstance(execution, dict):
        raise InvalidArgument(f"{what}: config is not an object")
    return ImageConfig(_platform(document, what), tuple(diff_ids), execution)


def descriptor(value: object, what: str) -> Descriptor:
    """A descriptor object of a document. Raises InvalidArgument."""
    if not isinstance(value, dict):
        raise InvalidArgument(f"{what}: a descriptor is not an object")
    media_type, digest, size = value.get("mediaType"), value.get("digest"), value.get("size")
    if not (isinstance(media_type, str) and isinstance(digest, str)):
        raise InvalidArgument(f"{what}: a descriptor lacks its media type or digest")
    if not (isinstance(size, int) and not isinstance(size, bool) and 0 <= size < _MAX_BLOB):
        raise InvalidArgument(f"{what}: the descriptor of {digest[:200]} has no proper size")
    digests.parse(digest)
    return Descriptor(media_type, digest, size, _texts(value, "annotations", what))


def as_document(value: Descriptor, platform: Platform | None = None) -> dict[str, Any]:
    """A descriptor as a JSON object."""
    document: dict[str, Any] = {"mediaType": value.media_type, "digest": value.digest, "size": value.size}
    if value.annotations:
        document["annotations"] = dict(value.annotations)
    if platform:
        document["platform"] = platform_document(platform)
    return document


def platform_document(platform: Platform) -> dict[str, Any]:
    """A platform as a JSON object."""
    fields: dict[str, Any] = {
        "architecture": platform.architecture,
        "os": platform.os,
        "os.version": platform.os_version,
        "os.features": list(platform.os_features),
        "variant": platform.variant,
    }
    return {key: value for key, value in fields.items() if value}


def _checked(data: bytes, media_type: str, what: str, *, has: str, lacks: Sequence[str]) -> dict[str, Any]:
    document = load(data, what)
    own = document.get("mediaType")
    if own and media_type and own != media_type and not _alike(own, media_type):
        raise InvalidArgument(f"{what}: it says that it is {str(own)[:200]!r}, but it was given as {media_type!r}")
    if has not in document:
        raise InvalidArgument(f"{what}: it has no {has!r}, so that it is not {media_types.kind(media_type)}")
    if both := [key for key in lacks if document.get(key) is not None]:
        raise InvalidArgument(f"{what}: it is ambiguous: it has {has!r} and {both[0]!r}")
    return document


def _alike(own: object, given: str) -> bool:
    """Docker's and OCI's documents of one kind are built alike, and some registries call the one the other."""
    kind = media_types.kind(given)
    return kind in ("index", "manifest") and isinstance(own, str) and media_types.kind(own) == kind


def _entry(value: object, what: str) -> IndexEntry:
    target = descriptor(value, what)
    platform = value.get("platform") if isinstance(value, dict) else None
    return IndexEntry(target, _platform(platform, what) if isinstance(platform, dict) else None)


def _platform(document: Mapping[str, Any], what: str) -> Platform:
    os, architecture, variant, version = [
        document.get(key) or "" for key in ("os", "architecture", "variant", "os.version")
    ]
    if not all(isinstance(each, str) for each in (os, architecture, variant, version)):
        raise InvalidArgument(f"{what}: its platform is malformed")
    features = _list(document, "os.features", MAX_FEATURES, what)
    if not all(isinstance(feature, str) for feature in features):
        raise InvalidArgument(f"{what}: the features of its platform are malformed")
    return normalise(Platform(os, architecture, variant, version, tuple(features)))


def _subject(document: Mapping[str, Any], what: str) -> str:
    value = document.get("subject")
    return descriptor(value, f"{what}: its subject").digest if value is not None else ""


def _text(document: Mapping[str, Any], key: str, what: str) -> str:
    value = document.get(key) or ""
    if not isinstance(value, str):
        raise InvalidArgument(f"{what}: {key} is not a text")
    return value


def _list(document: Mapping[str, Any], key: str, limit: int, what: str) -> list[Any]:
    value = document.get(key)
    if value is None:
        return []
    if not isinstance(value, list):
        raise InvalidArgument(f"{what}: {key} is not a list")
    if len(value) > limit:
        raise ResourceExhausted(f"{what}: {len(value)} {key} are more than the {limit} allowed")
    return value


def _texts(document: Mapping[str, Any], key: str, what: str) -> dict[str, str]:
    value = document.get(key) or {}
    if not isinstance(value, dict) or not all(isinstance(text, str) for text in value.values()):
        raise InvalidArgument(f"{what}: {key} are not texts")
    return value
