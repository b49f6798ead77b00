"""Images of the daemon written otherwise: another compression, OCI's media types."""

from collections.abc import Sequence

from corten import references
from corten.api.corten.images.v1.images_pb2 import ConvertedImage
from corten.api.types.transfer.imagestore_pb2 import ImageStore
from corten.contracts.objects import Image
from corten.errors import Unimplemented
from corten.messages.transfer import platform_message
from corten.platforms import Platform

from .client import Client
from .image import find
from .progress import Progress, ignored
from .pull import shown


async def convert(
    client: Client,
    image: str,
    name: str,
    *,
    compression: str = "",
    oci: bool = False,
    platforms: Sequence[Platform] = (),
    progress: Progress = ignored,
) -> Image:
    """Have `image` under `name`, its layers as `none`, `gzip` or `zstd`, or as they are; for these platforms or all.

    Raises NotFound for content that the daemon has not, InvalidArgument for layers that cannot be converted.
    """
    source, target = await find(client, image), references.normalised(name)
    store = ImageStore(
        name=target, labels=dict(source.labels), platforms=[platform_message(each) for each in platforms]
    )
    wanted = ConvertedImage(store=store, compression=compression, oci=oci)
    if not await client.introspection.is_corten():
        raise Unimplemented("convert: this daemon does not convert images (cortend does; ctr does it by itself)")
    await client.transfers.run(ImageStore(name=source.name), wanted, shown(progress))
    return await client.images.get(target)
