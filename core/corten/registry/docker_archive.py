"""The images of what `docker save` wrote, once its members are in the sink: a manifest is made for each."""

import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from corten import digests, references
from corten.contracts.descriptor import Descriptor
from corten.errors import InvalidArgument, NotFound
from corten.oci_image import documents, media_types
from corten.oci_image.model import ImportedImage
from corten.oci_image.oci_names import IMAGE_NAME, REF_NAME
from corten.platforms import Platform

from .contents import Contents, Stored, TakenIn
from .oci_layout import check_platform
from .sink import BlobSink, store_document
from .tarstream import compression

MAX_IMAGES = 1024
Compress = Callable[[Descriptor], Awaitable[Descriptor]]
"""Has a layer compressed in the store, if it is not yet, and returns its descriptor."""
_LAYERS = {
    "": media_types.DOCKER_LAYER,
    "gzip": media_types.DOCKER_LAYER_GZIP,
    "zstd": f"{media_types.DOCKER_LAYER}.zstd",
}


async def images(contents: Contents, sink: BlobSink, name: str) -> list[ImportedImage]:
    """One for each tag; an image without tags gets `name`."""
    found = []
    for entry in _entries(contents.documents["manifest.json"]):
        target = (await _store_manifest(entry, contents, sink, None)).target
        names = _texts(entry, "RepoTags") or ([name] if name else [])
        if not names:
            raise InvalidArgument("archive: an image in it has no name (give one with --name)")
        found += [ImportedImage(references.normalised(tag), target) for tag in names]
    return found


async def taken_in(
    contents: Contents, sink: BlobSink, compress: Compress | None, platforms: Sequence[Platform] = ()
) -> TakenIn:
    """One image for each tag, and one for each that has no tags, with an index of all that are for the platforms.

    Raises NotFound if there are none.
    """
    found, entries, others = list[Descriptor](), list[dict[str, Any]](), list[NotFound]()
    for entry in _entries(contents.documents["manifest.json"]):
        made = await _store_manifest(entry, contents, sink, compress)
        try:
            check_platform(made.platform, platforms)
        except NotFound as error:
            others.append(error)
            continue
        tags = [references.parse(tag) for tag in _texts(entry, "RepoTags")]
        named = [replace(made.target, annotations={IMAGE_NAME: str(tag), REF_NAME: tag.object}) for tag in tags]
        found += named or [made.target]
        entries += [documents.as_document(target, made.platform) for target in named or [made.target]]
    if not found:
        raise others[0]
    data = _dump({"schemaVersion": 2, "manifests": entries})
    index = Descriptor(media_types.OCI_INDEX, digests.of(data), len(data))
    await store_document(sink, index, data, found)
    return TakenIn(index, found)


class _Made(NamedTuple):
    target: Descriptor
    platform: Platform


def _dump(document: dict[str, Any]) -> bytes:
    """In the order of the specification's fields, as containerd writes it: the same archive, the same digest."""
    return json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode()


def _entries(data: bytes) -> list[dict[str, Any]]:
    try:
        entries = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise InvalidArgument(f"manifest.json of the archive: it is not JSON: {error}") from error
    if not (isinstance(entries, list) and entries and all(isinstance(entry, dict) for entry in entries)):
        raise InvalidArgument("manifest.json of the archive: it is not a list of images")
    if len(entries) > MAX_IMAGES:
        raise InvalidArgument(f"manifest.json of the archive: it has more than {MAX_IMAGES} images")
    return entries


async def _store_manifest(
    entry: dict[str, Any], contents: Contents, sink: BlobSink, compress: Compress | None
) -> _Made:
    config, layers, platform = await _parts(entry, contents, sink)
    if compress:
        layers = [await compress(layer) for layer in layers]
    document = {
        "schemaVersion": 2,
        "mediaType": media_types.DOCKER_MANIFEST,
        "config": documents.as_document(config),
        "layers": [documents.as_document(layer) for layer in layers],
    }
    data = _dump(document)
    target = Descriptor(media_types.DOCKER_MANIFEST, digests.of(data), len(data))
    await store_document(sink, target, data, [config, *layers])
    return _Made(target, platform)


async def _parts(
    entry: dict[str, Any], contents: Contents, sink: BlobSink
) -> tuple[Descriptor, list[Descriptor], Platform]:
    if not isinstance(entry.get("Config"), str):
        raise InvalidArgument("manifest.json of the archive: an image has no config")
    config = contents.blob(entry["Config"])
    parsed = documents.config(await sink.read(config.digest, documents.MAX_SIZE), f"config {config.digest}")
    stored = [contents.blob(name) for name in _texts(entry, "Layers")]
    layers_here, wanted = len(stored), len(parsed.diff_ids)
    if layers_here != wanted:
        raise InvalidArgument(f"archive: image {config.digest} has {layers_here} layers, but {wanted} diff ids")
    layers = [blob.descriptor(_layer_type(blob)) for blob in stored]
    return config.descriptor(media_types.DOCKER_CONFIG), layers, parsed.platform


def _layer_type(blob: Stored) -> str:
    kind = compression(blob.head)
    if kind not in _LAYERS:
        raise InvalidArgument(f"archive: layer {blob.digest} is compressed with {kind}, which no image may have")
    return _LAYERS[kind]


def _texts(entry: dict[str, Any], key: str) -> list[str]:
    value = entry.get(key) or []
    if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
        raise InvalidArgument(f"manifest.json of the archive: {key} is not a list of texts")
    return value
