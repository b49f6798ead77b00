"""Images of the daemon into a registry."""

from collections.abc import Sequence

from corten import references
from corten.api.types.transfer.imagestore_pb2 import ImageStore
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
) -> str:
    """Push `image` under `name`, its own by default, with all that it names; returns the full name.

    `referrers`: those that the daemon keeps go too, of these artifact types or, if none is named, of any.
    Raises Unimplemented for a daemon that pushes no referrers, NotFound
    also for content that the daemon has not, and the errors of `corten.registry`.
    """
    source = await find(client, image)
    target = references.parse(name or source.name)
    async with client.transfers.credentials(credentials) as asking:
        destination = referred_message(registry_message(target, plain_http, asking), referrers)
        await client.transfers.run(ImageStore(name=source.name), destination, shown(progress, warn))
    return str(target)
