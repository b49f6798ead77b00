"""Of an image for several platforms the one for one of them, in a content store."""

from corten.contracts.descriptor import Descriptor
from corten.errors import InvalidArgument, NotFound
from corten.oci_image import documents, media_types
from corten.oci_image.choice import choose
from corten.platforms import Platform, rank

from .source import BlobSource
from .tree import MAX_NESTING


async def single(source: BlobSource, target: Descriptor, platform: Platform, what: str) -> Descriptor:
    """The manifest for the platform, by what the indexes above it say or, where there are none, by its own config.

    Raises NotFound, naming the platforms that there are, and for a document that the store lacks.
    """
    if media_types.kind(target.media_type) != "index":
        await _check(source, target, platform, what)
        return target
    for _ in range(MAX_NESTING):
        index = documents.index(await _read(source, target, what), target.media_type, what)
        target = choose(index, platform, what)
        if media_types.kind(target.media_type) != "index":
            return target
    raise InvalidArgument(f"{what}: indexes are nested more than {MAX_NESTING} deep")


async def _check(source: BlobSource, target: Descriptor, platform: Platform, what: str) -> None:
    """Raises NotFound for an image that is made for another platform; an artifact is for all."""
    manifest = documents.manifest(await _read(source, target, what), target.media_type, what)
    if media_types.kind(manifest.config.media_type) != "config":
        return
    made_for = documents.config(await _read(source, manifest.config, what), what).platform
    if made_for.os and rank(platform, made_for) is None:
        raise NotFound(f"{what}: there is no image for {platform}, only for: {made_for}")


async def _read(source: BlobSource, at: Descriptor, what: str) -> bytes:
    try:
        return await source.read(at.digest, documents.MAX_SIZE)
    except NotFound as error:
        raise NotFound(f"{what}: its content {at.digest} is not in the content store (pull the image again)") from error
