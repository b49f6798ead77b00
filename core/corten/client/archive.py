"""Images from an archive into the daemon."""

from collections.abc import Sequence
from typing import BinaryIO

from corten.contracts.objects import Image
from corten.errors import NotFound
from corten.platforms import Platform
from corten.registry.archive import import_archive as take_in

from .client import Client
from .image import resolve
from .progress import Progress, ignored
from .pull import told
from .run import SNAPSHOTTER
from .sink import WireSink
from .unpack import unpack


async def import_archive(
    client: Client,
    file: BinaryIO,
    *,
    name: str = "",
    snapshotter: str = SNAPSHOTTER,
    platform: Platform | None = None,
    progress: Progress = ignored,
) -> Sequence[Image]:
    """Store every image of an OCI layout or docker-save archive, and unpack those for this platform.

    `name` is for an archive with one image that has none. An empty snapshotter: do not unpack.
    Raises InvalidArgument for a malformed archive, DataLoss for damaged content.
    """
    async with client.leased() as leased:
        found = await take_in(file, WireSink(leased.content), name=name, progress=told(progress))
        images = [await leased.images.put(Image(image.name, image.target)) for image in found]
        for image in images if snapshotter else ():
            try:
                await unpack(leased, await resolve(leased, image, platform), snapshotter, progress)
            except NotFound:
                if platform is not None or len(images) == 1:
                    raise  # that it is for another platform is no surprise in an archive of many only
    return images
