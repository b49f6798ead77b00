"""The six calls of CRI's ImageService."""

import time
from collections.abc import AsyncIterator, Iterable

from corten.api.cri.v1 import runtime_pb2 as pb
from corten.contracts.gc import Collector
from corten.contracts.snapshots import Kind
from corten.errors import CortenError, InvalidArgument, NotFound
from corten.pools import Pools
from corten.wire.service import CallContext, cancellable

from ..paging import pages
from . import names
from .catalog import Images
from .image import CriImage
from .pulling import Pulls
from .usage import Measured, SnapshotUsage


class ImageService:
    """The image side of CRI."""

    def __init__(self, images: Images, pulls: Pulls, usage: SnapshotUsage, collector: Collector, pools: Pools) -> None:
        self._images = images
        self._pulls = pulls
        self._usage = usage
        self._collector = collector
        self._pools = pools

    @cancellable
    async def list_images(self, request: pb.ListImagesRequest, call: CallContext) -> pb.ListImagesResponse:
        """All, or those that the filter's name leads to: one by a whole name or id, or all of a repository."""
        return pb.ListImagesResponse(images=map(self._images.message, await self._filtered(request.filter)))

    async def stream_images(
        self, request: pb.StreamImagesRequest, call: CallContext
    ) -> AsyncIterator[pb.StreamImagesResponse]:
        """The same, in pages."""
        for page in pages(await self._filtered(request.filter)):
            yield pb.StreamImagesResponse(images=map(self._images.message, page))

    @cancellable
    async def image_status(self, request: pb.ImageStatusRequest, call: CallContext) -> pb.ImageStatusResponse:
        """An empty answer for an image that is not there, as the kubelet expects."""
        try:
            image = await self._images.find(_named(request.image))
        except NotFound:
            return pb.ImageStatusResponse()
        return pb.ImageStatusResponse(image=self._images.message(image), info=image.info() if request.verbose else None)

    async def pull_image(self, request: pb.PullImageRequest, call: CallContext) -> pb.PullImageResponse:
        """Answers with the image's id."""
        auth = request.auth if request.HasField("auth") else None
        annotations = request.sandbox_config.annotations
        ref = await self._pulls.pull(_named(request.image), auth, request.image.runtime_handler, annotations)
        self._usage.outdated()
        return pb.PullImageResponse(image_ref=ref)

    async def remove_image(self, request: pb.RemoveImageRequest, call: CallContext) -> pb.RemoveImageResponse:
        """All names of the image go, and what only it needed is gone from the disk when the call returns."""
        try:
            image = await self._images.find(_named(request.image))
        except NotFound:
            return pb.RemoveImageResponse()
        for name in image.references:
            await self._images.remove(name)
        await self._pools.run("gc", self._collector.schedule_and_wait)
        self._usage.outdated()
        return pb.RemoveImageResponse()

    @cancellable
    async def image_fs_info(self, request: pb.ImageFsInfoRequest, call: CallContext) -> pb.ImageFsInfoResponse:
        """Images by what is committed, containers by their writable layers; the default snapshotter comes first."""
        response = pb.ImageFsInfoResponse()
        known = await self._usage.all()
        for name in self._usage.snapshotters:
            found = known.get(name, {}).values()
            if found or name == self._usage.snapshotters[0]:
                root = self._usage.root(name)
                images = _filesystem(root, (each for each in found if each.kind is not Kind.ACTIVE))
                containers = _filesystem(root, (each for each in found if each.kind is Kind.ACTIVE))
                response.image_filesystems.append(images)
                response.container_filesystems.append(containers)
        return response

    async def _filtered(self, wanted: pb.ImageFilter) -> list[CriImage]:
        images = await self._images.list()
        text = wanted.image.image
        if not text:
            return images
        repository = "" if names.may_be_id(text) else names.repository(text)
        try:
            found = (await self._images.find(text)).id
        except CortenError:
            found = ""
        tagged = ":" in text.rpartition("/")[2]
        return [image for image in images if image.id == found or (not tagged and _in(image, repository))]


def _in(image: CriImage, repository: str) -> bool:
    return bool(repository) and any(names.repository(name) == repository for name in image.references)


def _named(spec: pb.ImageSpec) -> str:
    if not spec.image:
        raise InvalidArgument("image: the request names none")
    return spec.image


def _filesystem(root: str, snapshots: Iterable[Measured]) -> pb.FilesystemUsage:
    found = list(snapshots)
    usage = pb.FilesystemUsage(timestamp=min((each.at for each in found), default=time.time_ns()))
    usage.fs_id.mountpoint = root
    usage.used_bytes.value = sum(each.usage.size for each in found)
    usage.inodes_used.value = sum(each.usage.inodes for each in found)
    return usage
