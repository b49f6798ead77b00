"""The images of what `docker save` wrote, once its members are in the sink: a manifest is made for each."""

import json
from dataclasses import replace
from typing import Any

from corten import digests, references
from corten.contracts.descriptor import Descriptor
from corten.errors import AlreadyExists, InvalidArgument
from corten.oci_image import documents, gc_labels, media_types
from corten.oci_image.model import ImportedImage
from corten.oci_image.oci_names import IMAGE_NAME

from .contents import Contents
from .sink import BlobSink, write_whole
from .tarstream import compression

MAX_IMAGES = 1024
_LAYERS = {
    "": media_types.DOCKER_LAYER,
    "gzip": media_types.DOCKER_LAYER_GZIP,
    "zstd": f"{media_types.DOCKER_LAYER}.zstd",
}


async def images(contents: Contents, sink: BlobSink, name: str) -> list[ImportedImage]:
    """One for each tag; an image without tags gets `name`."""
    found = []
    for entry in _entries(contents.documents["manifest.json"]):
        target = await _store_manifest(entry, contents, sink)
        names = _texts(entry, "RepoTags") or ([name] if name else [])
        if not names:
            raise InvalidArgument("archive: an image in it has no name (give one with --name)")
        found += [ImportedImage(references.normalised(tag), target) for tag in names]
    return found


async def targets(contents: Contents, sink: BlobSink) -> list[Descriptor]:
    """One for each tag, which is in its annotations, and one for each image without tags."""
    found = []
    for entry in _entries(contents.documents["manifest.json"]):
        target = await _store_manifest(entry, contents, sink)
        tags = _texts(entry, "RepoTags")
        found += [replace(target, annotations={IMAGE_NAME: references.normalised(tag)}) for tag in tags] or [target]
    return found


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


async def _store_manifest(entry: dict[str, Any], contents: Contents, sink: BlobSink) -> Descriptor:
    config, layers = await _parts(entry, contents, sink)
    document = {
        "schemaVersion": 2,
        "mediaType": media_types.DOCKER_MANIFEST,
        "config": documents.as_document(config),
        "layers": [documents.as_document(layer) for layer in layers],
    }
    data = documents.dump(document)
    target = Descriptor(media_types.DOCKER_MANIFEST, digests.of(data), len(data))
    labels = gc_labels.of_children([config, *layers])
    try:
        async with await sink.writer(f"import-{target.digest}", target.size, target.digest) as writer:
            await write_whole(writer, data)
            await writer.commit(target.size, target.digest, labels)
    except AlreadyExists:
        await sink.label(target.digest, labels)
    return target


async def _parts(entry: dict[str, Any], contents: Contents, sink: BlobSink) -> tuple[Descriptor, list[Descriptor]]:
    if not isinstance(entry.get("Config"), str):
        raise InvalidArgument("manifest.json of the archive: an image has no config")
    config = contents.blob(entry["Config"])
    parsed = documents.config(await sink.read(config.digest, documents.MAX_SIZE), f"config {config.digest}")
    stored = [contents.blob(name) for name in _texts(entry, "Layers")]
    layers_here, wanted = len(stored), len(parsed.diff_ids)
    if layers_here != wanted:
        raise InvalidArgument(f"archive: image {config.digest} has {layers_here} layers, but {wanted} diff ids")
    layers = [blob.descriptor(_LAYERS[compression(blob.head)]) for blob in stored]
    return config.descriptor(media_types.DOCKER_CONFIG), layers


def _texts(entry: dict[str, Any], key: str) -> list[str]:
    value = entry.get(key) or []
    if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
        raise InvalidArgument(f"manifest.json of the archive: {key} is not a list of texts")
    return value
