"""Images, the names of targets, over the wire."""

from collections.abc import Sequence

from corten.api.services.images.v1 import images_pb2 as pb
from corten.contracts.objects import Image
from corten.errors import AlreadyExists
from corten.gc_expiry import PASSING
from corten.messages.images import image, image_message
from corten.messages.values import mask

from .calls import Calls, methods

_RPC = methods(pb, "Images")


class Images:
    """The images of a namespace; errors as `corten.contracts.metadata.ImageStore`."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    async def create(self, value: Image) -> Image:
        request = pb.CreateImageRequest(image=image_message(value))
        return image((await self._calls.unary(_RPC["Create"], request)).image)

    async def get(self, name: str) -> Image:
        return image((await self._calls.unary(_RPC["Get"], pb.GetImageRequest(name=name))).image)

    async def list(self, filters: Sequence[str] = ()) -> list[Image]:
        answer = await self._calls.unary(_RPC["List"], pb.ListImagesRequest(filters=filters))
        return [image(message) for message in answer.images]

    async def update(self, value: Image, fieldpaths: Sequence[str] = ()) -> Image:
        request = pb.UpdateImageRequest(image=image_message(value), update_mask=mask(fieldpaths))
        return image((await self._calls.unary(_RPC["Update"], request)).image)

    async def put(self, value: Image) -> Image:
        """Create the image, or let the name point to the new target if there is one already.

        Labels that are not given stay there, but those by which it would go again.
        """
        try:
            return await self.create(value)
        except AlreadyExists:
            labels = dict.fromkeys((*value.labels, *PASSING))
            return await self.update(value, ["target", *(f"labels.{key}" for key in labels)])

    async def delete(self, name: str, *, sync: bool = False) -> None:
        """`sync`: return after a garbage collection that began later than the deletion."""
        await self._calls.unary(_RPC["Delete"], pb.DeleteImageRequest(name=name, sync=sync))
