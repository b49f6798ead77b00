"""Images from an archive into the daemon, by the daemon itself or, where it has no transfers, by this process."""

import asyncio
from collections.abc import Sequence
from typing import BinaryIO

from corten import platforms, references
from corten.api.types.transfer.imagestore_pb2 import ImageReference, ImageStore, UnpackConfiguration
from corten.api.types.transfer.importexport_pb2 import ImageImportStream
from corten.api.types.transfer.progress_pb2 import Progress as ProgressMessage
from corten.contracts.objects import Image
from corten.errors import DataLoss, InvalidArgument, NotFound
from corten.messages.transfer import platform_message
from corten.platforms import Platform
from corten.registry.archive import import_archive as take_in

from .byte_streams import send_file
from .client import Client
from .image import resolve
from .progress import Progress, ignored
from .pull import shown, told
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
    compress: bool = False,
    progress: Progress = ignored,
) -> Sequence[Image]:
    """Store every image of an OCI layout or docker-save archive, and unpack those for this platform.

    `name` is for an archive with one image that has none. An empty snapshotter: do not unpack. `compress`: the layers
    of a docker archive. Raises InvalidArgument for a malformed archive, DataLoss for damaged content.
    """
    # Other daemons know no names for images that have none.
    if await client.introspection.is_corten() and await client.transfers.offered():
        return await _by_the_daemon(client, file, name, snapshotter, platform, compress, progress)
    return await _by_this_process(client, file, name, snapshotter, platform, progress)


async def _by_the_daemon(
    client: Client,
    file: BinaryIO,
    name: str,
    snapshotter: str,
    platform: Platform | None,
    compress: bool,
    progress: Progress,
) -> Sequence[Image]:
    unpacked = UnpackConfiguration(platform=platform_message(platform or platforms.host()), snapshotter=snapshotter)
    store = ImageStore(extra_references=_references(name), unpacks=[unpacked] if snapshotter else [])
    names, show = list[str](), shown(progress)

    def watch(event: ProgressMessage) -> None:
        show(event)
        if event.event == "saved":
            names.append(event.name)

    async with client.transfers.opened("import") as stream:
        sending = asyncio.ensure_future(send_file(stream, file))
        work = client.transfers.run(ImageImportStream(stream=stream.id, force_compress=compress), store, watch)
        running = asyncio.ensure_future(work)
        sending.add_done_callback(lambda _: running.cancel() if _unreadable(sending) else None)
        try:
            await running
        except asyncio.CancelledError:
            if error := _unreadable(sending):
                raise DataLoss(f"archive: it cannot be read: {error.strerror}") from error
            raise
        except NotFound as error:
            if "gets a name" not in error.message:
                raise
            raise InvalidArgument("archive: no image in it has a name (give one with --name)") from error
        finally:
            for each in (running, sending):
                each.cancel()
            await asyncio.wait([running, sending])
    return [await client.images.get(each) for each in names]


def _unreadable(sending: asyncio.Future[None]) -> OSError | None:
    """Why no more of the archive comes; None if it comes still, has come whole, or if the daemon wants no more."""
    failed = sending.done() and not sending.cancelled()
    error = sending.exception() if failed else None
    return error if isinstance(error, OSError) else None


def _references(name: str) -> list[ImageReference]:
    """Names in the archive count as they are, tags behind the name given; which is for one that has none, too."""
    own = ImageReference(is_prefix=True, allow_overwrite=True)
    if not name:
        return [own]
    asked = references.parse(name)
    whole = ImageReference(name=str(asked), is_prefix=True, skip_named_digest=True)
    tags = ImageReference(name=asked.name, is_prefix=True, allow_overwrite=True)
    return [own, whole] if references.has_tag(name) else [tags, whole]


async def _by_this_process(
    client: Client, file: BinaryIO, name: str, snapshotter: str, platform: Platform | None, progress: Progress
) -> Sequence[Image]:
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
