"""Images of the daemon into an archive."""

import asyncio
from collections.abc import Sequence
from typing import BinaryIO

from corten import platforms
from corten.api.types.transfer.imagestore_pb2 import ImageReference, ImageStore
from corten.api.types.transfer.importexport_pb2 import ImageExportStream
from corten.messages.transfer import platform_message
from corten.platforms import Platform

from .byte_streams import receive_file
from .client import Client
from .image import find


async def export_archive(
    client: Client,
    images: Sequence[str],
    file: BinaryIO,
    *,
    platform: Platform | None = None,
    all_platforms: bool = False,
) -> None:
    """Write the images, an OCI layout that docker can load too; the same images give the same bytes.

    Raises NotFound for images and content that the daemon has not, OSError of the file.
    """
    names = [(await find(client, image)).name for image in images]
    source = ImageStore(extra_references=[ImageReference(name=name) for name in names])
    wanted = [platform_message(platform or platforms.host())]
    async with client.transfers.opened("export") as stream:
        destination = ImageExportStream(stream=stream.id, platforms=wanted, all_platforms=all_platforms)
        # A file that takes no more ends the transfer, and an error of that the waiting for what it sends.
        both = [
            asyncio.ensure_future(receive_file(stream, file)),
            asyncio.ensure_future(client.transfers.run(source, destination)),
        ]
        try:
            done, _ = await asyncio.wait(both, return_when=asyncio.FIRST_EXCEPTION)
            for each in done:
                each.result()
        finally:
            for each in both:
                each.cancel()
            await asyncio.wait(both)
