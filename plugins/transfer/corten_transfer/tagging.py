"""Store to store: further names for an image, and unpacking what is in the store."""

from corten.contracts.scope import Scope
from corten.contracts.transfer import StoreImage

from . import naming
from .archives import unpack_stored
from .leased import leased
from .parts import Parts
from .reporting import Report


async def tag(parts: Parts, scope: Scope, source: StoreImage, destination: StoreImage, report: Report) -> None:
    """Let the destination's names point to what the source's name points to, unpacked as asked. Raises NotFound."""
    image = await parts.pools.run("metadata", parts.metadata.images(scope).get, source.name)
    async with leased(parts, scope) as held:
        for wanted in destination.unpacks:
            await unpack_stored(parts, held, image.target, wanted, report)
        await naming.save(parts, held, naming.pulled(destination, image.target), image.target, destination)
