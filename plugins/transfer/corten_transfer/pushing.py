"""Store to registry."""

from corten import references
from corten.contracts.scope import Scope
from corten.contracts.transfer import RegistryImage, StoreImage
from corten.registry.push import push as upload

from .leased import leased
from .parts import Parts
from .registries import client_for
from .reporting import Report


async def push(parts: Parts, scope: Scope, source: StoreImage, destination: RegistryImage, report: Report) -> None:
    """Have the image, with everything it names, in the registry. Raises NotFound also for content that is missing."""
    reference = references.parse(destination.reference)
    image = await parts.pools.run("metadata", parts.metadata.images(scope).get, source.name)
    report.say(f"Pushing to {destination}")
    report.say("pushing content", image.name, image.target)
    report.root(image.name, image.target)
    async with leased(parts, scope) as held, client_for(parts, destination, report) as registry:
        await upload(
            registry,
            reference,
            parts.source(held),
            image.target,
            progress=report.blob,
            found=report.found,
            slots=parts.uploads,
            platforms=source.platforms,
            referrers=destination.referrers,
        )
    report.done(f"Completed push to {destination}", "pushed content", [image.name], image.target)
