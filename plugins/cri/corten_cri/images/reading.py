"""From an image record to what CRI wants to know of it: index, manifest and config are read, each checked."""

from dataclasses import replace

from corten import platforms
from corten.contracts.content import ContentStore
from corten.contracts.descriptor import Descriptor
from corten.contracts.objects import Image
from corten.errors import InvalidArgument, NotFound
from corten.oci_image import documents, gc_labels, media_types, unpack
from corten.oci_image.choice import choose
from corten.platforms import Platform

from .image import CriImage

MAX_DEPTH = 4
"""Indexes within indexes."""


def read(content: ContentStore, image: Image, platform: Platform | None = None) -> CriImage:
    """Blocks. Raises NotFound for a blob that is not there or a platform that is not offered, InvalidArgument."""
    what = f"image {image.name}"
    wanted = platform or platforms.host()
    manifest_at, above = _manifest(content, image.target, wanted, what)
    manifest = documents.manifest(blob(content, manifest_at), manifest_at.media_type, what)
    if media_types.kind(manifest.config.media_type) != "config":
        raise InvalidArgument(
            f"{what}: it is not a container image: its config is {manifest.config.media_type[:200]!r}"
        )
    data = blob(content, manifest.config)
    config = documents.config(data, what)
    size = above + manifest_at.size + manifest.config.size + sum(layer.size for layer in manifest.layers)
    found = CriImage(
        id=manifest.config.digest,
        chain_id=unpack.chain_id(config.diff_ids),
        size=size,
        document=documents.load(data, what),
        target=image.target,
        manifest=manifest_at.digest,
    )
    return found.recorded(image)


def blob(content: ContentStore, at: Descriptor) -> bytes:
    """A whole document. Raises NotFound, InvalidArgument for one that is too large."""
    with content.reader(at.digest) as reader:
        if reader.size > documents.MAX_SIZE:
            raise InvalidArgument(f"content {at.digest}: {reader.size} bytes are more than {documents.MAX_SIZE}")
        return reader.read_at(0, reader.size) if reader.size else b""


def release_layers(content: ContentStore, manifest: str) -> None:
    """Let a manifest no longer hold its layers. Blocks; harmless if the manifest is gone."""
    try:
        info = content.info(manifest)
        held = [key for key in info.labels if key.startswith(gc_labels.LAYER)]
        if held:
            rest = {key: value for key, value in info.labels.items() if key not in held}
            content.update(replace(info, labels=rest), tuple(f"labels.{key}" for key in held))
    except NotFound:
        pass


def _manifest(content: ContentStore, target: Descriptor, wanted: Platform, what: str) -> tuple[Descriptor, int]:
    """The manifest for the platform, and the bytes of the indexes above it."""
    above = 0
    for _ in range(MAX_DEPTH):
        if media_types.kind(target.media_type) == "manifest":
            return target, above
        if media_types.kind(target.media_type) != "index":
            break
        above += target.size
        target = choose(documents.index(blob(content, target), target.media_type, what), wanted, what)
    raise NotFound(f"{what}: it leads to no manifest, but to {target.media_type[:200]!r}")
