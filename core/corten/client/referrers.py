"""What refers to an image in its registry, asked by this process: the daemon keeps none of it."""

from collections.abc import Sequence

from corten import references
from corten.contracts.transfer import WARNING
from corten.errors import NotFound
from corten.references import Reference
from corten.registry.credentials import Lookup, anonymous
from corten.registry.kept_referrers import Referrer
from corten.registry.referrers import referrers as listed

from .client import Client
from .image import find
from .progress import Warn, unheard


async def referrers(
    client: Client,
    image: str,
    artifact_type: str = "",
    *,
    plain_http: bool | None = None,
    credentials: Lookup = anonymous,
    warn: Warn = unheard,
) -> Sequence[Referrer]:
    """Of the image as the daemon has it, else as the registry has it now; an empty type means any.

    Raises the errors of `corten.registry.referrers`, and NotFound for an image that is in neither place.
    """
    from corten.registry.client import RegistryClient  # brings HTTP along

    reference, digest = await _here(client, image)
    async with RegistryClient(
        credentials=credentials,
        plain_http=plain_http,
        warn=lambda host, text: warn(f"{WARNING} from registry {host}: {text}"),
    ) as registry:
        digest = digest or (await registry.resolve(reference)).digest
        return await listed(registry, reference, digest, artifact_type)


async def _here(client: Client, image: str) -> tuple[Reference, str]:
    """Its full name, and its digest if the daemon has it."""
    try:
        found = await find(client, image)
    except NotFound:
        return references.parse(image), ""
    return references.parse(found.name), found.target.digest
