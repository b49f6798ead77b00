"""Images."""

from corten.api.services.images.v1 import images_pb2 as pb
from corten.contracts.objects import Image

from .values import descriptor, descriptor_message, timestamp


def image(message: pb.Image) -> Image:
    """As the client wants it; the times are the store's affair."""
    return Image(message.name, descriptor(message.target), dict(message.labels))


def image_message(value: Image) -> pb.Image:
    return pb.Image(
        name=value.name,
        labels=dict(value.labels),
        target=descriptor_message(value.target),
        created_at=timestamp(value.created_at),
        updated_at=timestamp(value.updated_at),
    )
