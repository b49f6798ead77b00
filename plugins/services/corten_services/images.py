"""The service `Images`: names for index and manifest blobs."""

from corten.api.services.images.v1 import images_pb2 as pb
from corten.contracts.gc import Collector
from corten.contracts.metadata import ImageStore, Metadata
from corten.contracts.objects import Image
from corten.messages.images import image, image_message
from corten.messages.values import named, nanoseconds, present, sought
from corten.plugin.hooks import HookRelay
from corten.pools import Pools
from corten.supervisor import Supervisor
from corten.wire.service import CallContext, cancellable
from google.protobuf.empty_pb2 import Empty


class ImagesService:
    """A thin layer over the metadata store; a new or changed image reaches the hook `image_pulled`."""

    def __init__(
        self, metadata: Metadata, collector: Collector, pools: Pools, hooks: HookRelay, supervisor: Supervisor
    ) -> None:
        self._metadata = metadata
        self._collector = collector
        self._pools = pools
        self._hooks = hooks
        self._supervisor = supervisor

    @cancellable
    async def get(self, request: pb.GetImageRequest, call: CallContext) -> pb.GetImageResponse:
        store, name = self._store(call), sought(request.name, "name of the image")
        return pb.GetImageResponse(image=image_message(store.get(name)))

    @cancellable
    async def list(self, request: pb.ListImagesRequest, call: CallContext) -> pb.ListImagesResponse:
        store, filters = self._store(call), list(request.filters)
        response = pb.ListImagesResponse()
        async for page in self._pools.iterate("metadata", lambda: store.walk(filters)):
            response.images.extend(image_message(each) for each in page)
        return response

    async def create(self, request: pb.CreateImageRequest, call: CallContext) -> pb.CreateImageResponse:
        store, wanted, epoch = self._store(call), _wanted(request), _epoch(request)
        made = await self._pools.run("metadata", lambda: store.create(wanted, source_date_epoch=epoch))
        self._tell(call, made)
        return pb.CreateImageResponse(image=image_message(made))

    async def update(self, request: pb.UpdateImageRequest, call: CallContext) -> pb.UpdateImageResponse:
        store, wanted, epoch = self._store(call), _wanted(request), _epoch(request)
        mask = list(request.update_mask.paths)
        updated = await self._pools.run("metadata", lambda: store.update(wanted, mask, source_date_epoch=epoch))
        self._tell(call, updated)
        return pb.UpdateImageResponse(image=image_message(updated))

    async def delete(self, request: pb.DeleteImageRequest, call: CallContext) -> Empty:
        """With `sync`, what only this image needed is gone from the disk when the call returns."""
        store, name = self._store(call), sought(request.name, "name of the image")
        target = request.target.digest if request.HasField("target") else ""
        await self._pools.run("metadata", lambda: store.delete(name, target_digest=target))
        if request.sync:
            await self._pools.run("gc", self._collector.schedule_and_wait)
        return Empty()

    def _store(self, call: CallContext) -> ImageStore:
        return self._metadata.images(call.scope())

    def _tell(self, call: CallContext, changed: Image) -> None:
        if self._hooks.has("image_pulled"):
            told = self._hooks.image_pulled(call.scope().namespace, changed)
            self._supervisor.background(f"hook image_pulled for {changed.name}", told)


def _wanted(request: pb.CreateImageRequest | pb.UpdateImageRequest) -> Image:
    present(request, "image")
    named(request.image.name, "name of the image")
    return image(request.image)


def _epoch(request: pb.CreateImageRequest | pb.UpdateImageRequest) -> int | None:
    return nanoseconds(request.source_date_epoch) if request.HasField("source_date_epoch") else None
