"""Store to store: further names for an image."""

from corten.contracts.scope import Scope
from corten.contracts.transfer import StoreImage

from . import naming
from .parts import Parts


async def tag(parts: Parts, scope: Scope, source: StoreImage, destination: StoreImage) -> None:
    """Let the destination's names point to what the source's name points to. Raises NotFound."""
    image = await parts.pools.run("metadata", parts.metadata.images(scope).get, source.name)
    labels = {**image.labels, **destination.labels}
    await naming.save(parts, scope, naming.pulled(destination, image.target), image.target, labels)
