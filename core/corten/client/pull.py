"""Images from a registry into the daemon, by the daemon itself or, where it has no transfers, by this process."""

from collections.abc import Sequence

from google.protobuf.message import Message

from corten import platforms, references
from corten.api.corten.images.v1.images_pb2 import ReferredImage
from corten.api.types.transfer.imagestore_pb2 import ImageStore, UnpackConfiguration
from corten.api.types.transfer.progress_pb2 import Progress as ProgressMessage
from corten.api.types.transfer.registry_pb2 import OCIRegistry, RegistryResolver
from corten.contracts.descriptor import Descriptor
from corten.contracts.objects import Image
from corten.contracts.transfer import WARNING
from corten.errors import Unimplemented
from corten.messages.transfer import platform_message
from corten.oci_image.model import ImageConfig, Manifest
from corten.platforms import Platform
from corten.references import Reference
from corten.registry import progress as fetching
from corten.registry.credentials import Lookup, anonymous
from corten.registry.pull import CONCURRENCY, Stored
from corten.registry.pull import pull as fetch
from corten.values import dataclass

from .client import Client
from .image import Resolved
from .progress import Progress, Warn, ignored, unheard
from .run import SNAPSHOTTER
from .sink import WireSink
from .transfer import Watch
from .unpack import unpack


@dataclass(frozen=True, slots=True)
class PullOptions:
    """How to fetch. `snapshotter` empty: do not unpack; `plain_http` None: only for a registry on this machine."""

    platform: Platform | None = None
    all_platforms: bool = False
    """Fetch the image for every platform, from a daemon that transfers; for `platform` it is unpacked."""
    snapshotter: str = SNAPSHOTTER
    plain_http: bool | None = None
    credentials: Lookup = anonymous
    concurrency: int = CONCURRENCY
    """Layers fetched at once by this process; the daemon has its own setting."""
    warn: Warn = unheard
    """Told what registries warn of."""
    referrers: Sequence[str] | None = None
    """Artifact types of what refers to the image and is to come too; none named means any, None: nothing."""


async def pull(client: Client, name: str, options: PullOptions | None = None, progress: Progress = ignored) -> Image:
    """Fetch, unpack each layer once it and those below are there, and store under the full form of `name`.

    What is there already is not fetched again. The daemon does it; for one that cannot, this process fetches.
    Raises the errors of `corten.registry`.
    """
    options, reference = options or PullOptions(), references.parse(name)
    able = await client.transfers.offered() and (
        options.referrers is None or await client.introspection.is_corten()  # no other daemon fetches referrers
    )
    if options.all_platforms and not able:
        raise Unimplemented("pull: a daemon without transfers gets an image for one platform (name it)")
    by = _by_the_daemon if able else _by_this_process
    return await by(client, reference, options, progress)


async def _by_the_daemon(client: Client, reference: Reference, options: PullOptions, progress: Progress) -> Image:
    platform = platform_message(options.platform or platforms.host())
    unpacks = [UnpackConfiguration(platform=platform, snapshotter=options.snapshotter)] if options.snapshotter else []
    wanted, limit = ([], 0) if options.all_platforms else ([platform], 1)
    store = ImageStore(name=str(reference), platforms=wanted, manifest_limit=limit, unpacks=unpacks)
    async with client.transfers.credentials(options.credentials) as asking:
        source = referred_message(registry_message(reference, options.plain_http, asking), options.referrers)
        await client.transfers.run(source, store, shown(progress, options.warn))
    return await client.images.get(str(reference))


async def _by_this_process(client: Client, reference: Reference, options: PullOptions, progress: Progress) -> Image:
    """For daemons without transfers: everything is under a lease until the image's record holds it."""
    from corten.registry.client import RegistryClient  # brings HTTP along, which the daemon does as a rule

    platform = options.platform or platforms.host()
    async with client.leased() as leased:

        async def unpacking(target: Descriptor, manifest: Manifest, config: ImageConfig, stored: Stored) -> None:
            if options.snapshotter:
                image = Resolved(str(reference), target, manifest, config)
                await unpack(leased, image, options.snapshotter, progress, stored)

        async with RegistryClient(
            credentials=options.credentials,
            plain_http=options.plain_http,
            warn=lambda host, text: options.warn(f"{WARNING} from registry {host}: {text}"),
        ) as registry:
            fetched = await fetch(
                registry,
                reference,
                WireSink(leased.content),
                platform,
                progress=told(progress),
                concurrency=options.concurrency,
                beside=unpacking,
                referrers=options.referrers,
            )
        return await leased.images.put(Image(fetched.name, fetched.target))


def referred_message(registry: OCIRegistry, referrers: Sequence[str] | None) -> Message:
    """An image in a registry with what refers to it, of these types or any; alone with None."""
    return registry if referrers is None else ReferredImage(registry=registry, artifact_types=referrers)


def told(progress: Progress) -> fetching.Show:
    """The registry client's progress in this package's words."""
    return lambda blob: progress(f"{blob.kind} {blob.digest}", blob.offset, blob.total)


def shown(progress: Progress, warn: Warn = unheard) -> Watch:
    """The daemon's progress in this package's words."""

    def watch(event: ProgressMessage) -> None:
        if not event.name and event.event.startswith(WARNING):
            warn(event.event)
        kind, _, digest = event.name.partition("-")
        if event.parents and digest:
            word = "unpack" if event.event in ("extracting", "extracted") else kind
            progress(f"{word} {digest}", event.progress, event.total)

    return watch


def registry_message(reference: Reference, plain_http: bool | None, asking: str) -> OCIRegistry:
    """An image in a registry as the other side of a transfer; `asking` is the stream for credentials."""
    scheme = {None: "", True: "http", False: "https"}[plain_http]
    return OCIRegistry(reference=str(reference), resolver=RegistryResolver(default_scheme=scheme, auth_stream=asking))
