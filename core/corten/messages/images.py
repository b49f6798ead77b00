"""Images."""

from corten.api.services.images.v1 import images_pb2 as pb
from corten.contracts.objects import Image

from .values import descriptor, descriptor_message, time_of, timestamp


def image(message: pb.Image) -> Image:
    return Image(
        message.name,
        descriptor(message.target),
        dict(message.labels),
        time_of(message.created_at),
        time_of(message.updated_at),
    )


def image_message(value: Image) -> pb.Image:
    return pb.Image(
        name=value.name,
        labels=dict(value.labels),
        target=descriptor_message(value.target),
        created_at=timestamp(value.created_at),
        updated_at=timestamp(value.updated_at),
    )
