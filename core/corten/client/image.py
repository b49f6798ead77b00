"""What an image name leads to: its manifest for this platform and its config, read from the daemon's content."""

from contextlib import suppress

from corten import platforms, references
from corten.contracts.descriptor import Descriptor
from corten.contracts.objects import Image
from corten.errors import FailedPrecondition, InvalidArgument, NotFound
from corten.oci import image_defaults
from corten.oci.image_defaults import ImageDefaults
from corten.oci_image import documents, media_types, unpack
from corten.oci_image.choice import choose
from corten.oci_image.model import ImageConfig, Manifest
from corten.platforms import Platform
from corten.values import dataclass

from .client import Client

MAX_DEPTH = 4
"""Indexes within indexes that are followed."""


@dataclass(frozen=True, slots=True)
class Resolved:
    """An image for one platform, `target` being its manifest."""

    name: str
    target: Descriptor
    manifest: Manifest
    config: ImageConfig

    @property
    def top(self) -> str:
        """The snapshot that containers stand on; empty for an image without layers."""
        return unpack.chain_id(self.config.diff_ids)

    @property
    def defaults(self) -> ImageDefaults:
        """How the image wants to be run. Raises InvalidArgument if that is malformed."""
        return image_defaults.parse(self.config.execution)

    @property
    def size(self) -> int:
        """Bytes of what was fetched: config and layers, each blob once."""
        return sum({each.digest: each.size for each in (self.manifest.config, *self.manifest.layers)}.values())


async def resolve(client: Client, image: Image, platform: Platform | None = None) -> Resolved:
    """Raises NotFound for missing content or platform, InvalidArgument for malformed documents."""
    target = image.target
    for _ in range(MAX_DEPTH):
        data = await _read(client, image.name, target)
        if media_types.kind(target.media_type) != "index":
            manifest = documents.manifest(data, target.media_type, f"image {image.name!r}: manifest {target.digest}")
            if media_types.kind(manifest.config.media_type) != "config":
                kind = manifest.config.media_type[:200]
                raise InvalidArgument(f"image {image.name!r}: it is no container image: its config is {kind!r}")
            config = await _read(client, image.name, manifest.config)
            what = f"image {image.name!r}: config {manifest.config.digest}"
            return _for(platform, Resolved(image.name, target, manifest, documents.config(config, what)))
        index = documents.index(data, target.media_type, f"image {image.name!r}: index {target.digest}")
        target = choose(index, platform or platforms.host(), f"image {image.name!r}")
    raise FailedPrecondition(f"image {image.name!r}: more than {MAX_DEPTH} indexes lie within each other")


def _for(platform: Platform | None, image: Resolved) -> Resolved:
    """An image for one platform alone is taken for another only if none was asked for."""
    made_for = image.config.platform
    if platform and made_for.os and platforms.rank(platform, made_for) is None:
        raise NotFound(f"image {image.name!r}: there is none for {platform}, only for {made_for}")
    return image


async def _read(client: Client, name: str, blob: Descriptor) -> bytes:
    try:
        return await client.content.read_all(blob.digest, documents.MAX_SIZE)
    except NotFound as error:
        raise NotFound(f"image {name!r}: {blob.digest} is not in the content store (pull the image again)") from error


async def find(client: Client, name: str) -> Image:
    """The image as a person names it: exactly so, or by the full form of the reference (`busybox` …).

    Raises NotFound under the full form.
    """
    with suppress(NotFound):
        return await client.images.get(name)
    try:
        return await client.images.get(references.normalised(name))
    except InvalidArgument as error:
        raise NotFound(f"image {name!r}: there is no such image in namespace {client.namespace!r}") from error
    except NotFound as error:
        full = references.normalised(name)
        raise NotFound(f"image {full!r}: there is no such image in namespace {client.namespace!r}") from error
