"""Images of the daemon into a registry."""

from corten import references
from corten.api.types.transfer.imagestore_pb2 import ImageStore
from corten.registry.credentials import Lookup, anonymous

from .client import Client
from .image import find
from .progress import Progress, Warn, ignored, unheard
from .pull import registry_message, shown


async def push(
    client: Client,
    image: str,
    name: str = "",
    *,
    plain_http: bool | None = None,
    credentials: Lookup = anonymous,
    progress: Progress = ignored,
    warn: Warn = unheard,
) -> str:
    """Push `image` under `name`, its own by default, with all that it names; returns the full name.

    Raises NotFound also for content that the daemon has not, and the errors of `corten.registry`.
    """
    source = await find(client, image)
    target = references.parse(name or source.name)
    async with client.transfers.credentials(credentials) as asking:
        destination = registry_message(target, plain_http, asking)
        await client.transfers.run(ImageStore(name=source.name), destination, shown(progress, warn))
    return str(target)
