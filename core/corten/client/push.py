"""Images of the daemon into a registry."""

from collections.abc import Sequence

from google.protobuf.message import Message

from corten import references
from corten.api.corten.images.v1.images_pb2 import SingleImage
from corten.api.types.transfer.imagestore_pb2 import ImageStore
from corten.messages.transfer import platform_message
from corten.platforms import Platform
from corten.registry.credentials import Lookup, anonymous

from .client import Client
from .image import find
from .progress import Progress, Warn, ignored, unheard
from .pull import referred_message, registry_message, shown


async def push(
    client: Client,
    image: str,
    name: str = "",
    *,
    plain_http: bool | None = None,
    credentials: Lookup = anonymous,
    progress: Progress = ignored,
    warn: Warn = unheard,
    referrers: Sequence[str] | None = None,
    platform: Platform | None = None,
) -> str:
    """Push `image` under `name`, its own by default, with all that it names; returns the full name.

    `referrers`: those that the daemon keeps go too, of these artifact types or, if none is named, of any.
    `platform`: of an image for several platforms the one for this alone, without the index.
    Raises Unimplemented for a daemon that does neither, NotFound also for content that the daemon has not, and the
    errors of `corten.registry`.
    """
    source = await find(client, image)
    target = references.parse(name or source.name)
    async with client.transfers.credentials(credentials) as asking:
        destination = referred_message(registry_message(target, plain_http, asking), referrers)
        await client.transfers.run(_source(source.name, platform), destination, shown(progress, warn))
    return str(target)


def _source(name: str, platform: Platform | None) -> Message:
    store = ImageStore(name=name)
    return SingleImage(store=store, platform=platform_message(platform)) if platform else store
