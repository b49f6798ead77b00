"""Store to registry."""

from corten import references
from corten.contracts.scope import Scope
from corten.contracts.transfer import RegistryImage, SingleImage, StoreImage
from corten.registry.push import push as upload
from corten.registry.single import single

from .leased import leased
from .parts import Parts
from .registries import client_for
from .reporting import Report


async def push(
    parts: Parts, scope: Scope, source: StoreImage | SingleImage, destination: RegistryImage, report: Report
) -> None:
    """Have the image, with everything it names, in the registry. Raises NotFound also for content that is missing."""
    reference = references.parse(destination.reference)
    store = source.store if isinstance(source, SingleImage) else source
    image = await parts.pools.run("metadata", parts.metadata.images(scope).get, store.name)
    report.say(f"Pushing to {destination}")
    async with leased(parts, scope) as held, client_for(parts, destination, report) as registry:
        target = image.target
        if isinstance(source, SingleImage):
            target = await single(parts.source(held), target, source.platform, f"image {image.name}")
        report.say("pushing content", image.name, target)
        report.root(image.name, target)
        await upload(
            registry,
            reference,
            parts.source(held),
            target,
            progress=report.blob,
            found=report.found,
            slots=parts.uploads,
            platforms=store.platforms,
            referrers=destination.referrers,
        )
    report.done(f"Completed push to {destination}", "pushed content", [image.name], target)
