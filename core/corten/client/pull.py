"""Images from a registry into the daemon: fetched by this process, stored and unpacked by the daemon."""

from dataclasses import dataclass

from corten import platforms, references
from corten.contracts.descriptor import Descriptor
from corten.contracts.objects import Image
from corten.oci_image.model import ImageConfig, Manifest
from corten.platforms import Platform
from corten.registry import progress as fetching
from corten.registry.client import RegistryClient
from corten.registry.credentials import Lookup, anonymous
from corten.registry.pull import CONCURRENCY, Stored
from corten.registry.pull import pull as fetch

from .client import Client
from .image import Resolved
from .progress import Progress, ignored
from .run import SNAPSHOTTER
from .sink import WireSink
from .unpack import unpack


@dataclass(frozen=True, slots=True)
class PullOptions:
    """How to fetch. `snapshotter` empty: do not unpack; `plain_http` None: only for a registry on this machine."""

    platform: Platform | None = None
    snapshotter: str = SNAPSHOTTER
    plain_http: bool | None = None
    credentials: Lookup = anonymous
    concurrency: int = CONCURRENCY


async def pull(client: Client, name: str, options: PullOptions | None = None, progress: Progress = ignored) -> Image:
    """Fetch, unpack each layer once it and those below are there, and store under the full form of `name`.

    What is there already is not fetched again.
    Everything is under a lease until the image's record holds it. Raises the errors of `corten.registry`.
    """
    options = options or PullOptions()
    reference, platform = references.parse(name), options.platform or platforms.host()
    async with client.leased() as leased:

        async def unpacking(target: Descriptor, manifest: Manifest, config: ImageConfig, stored: Stored) -> None:
            if options.snapshotter:
                image = Resolved(str(reference), target, manifest, config)
                await unpack(leased, image, options.snapshotter, progress, stored)

        async with RegistryClient(credentials=options.credentials, plain_http=options.plain_http) as registry:
            fetched = await fetch(
                registry,
                reference,
                WireSink(leased.content),
                platform,
                progress=told(progress),
                concurrency=options.concurrency,
                beside=unpacking,
            )
        return await leased.images.put(Image(fetched.name, fetched.target))


def told(progress: Progress) -> fetching.Show:
    """The registry client's progress in this package's words."""
    return lambda blob: progress(f"{blob.kind} {blob.digest}", blob.offset, blob.total)
