"""Registry to store: documents first, then layers side by side, each unpacked as soon as it can be."""

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from functools import partial

from corten import digests, platforms, references
from corten.contracts.descriptor import Descriptor
from corten.contracts.scope import Scope
from corten.contracts.transfer import WARNING, RegistryImage, StoreImage, Unpack
from corten.oci_image import documents, legacy, media_types, unpack
from corten.registry.arrival import Arrival
from corten.registry.pull import Layers
from corten.registry.referred import Referrals
from corten.registry.sink import StoreSink, store_document
from corten.registry.tree import UNSURE, Documents, FetchedManifest, Wanted, check

from . import naming
from .leased import leased
from .parts import Parts
from .registries import client_for, login_at
from .reporting import Report
from .unpacking import Unpacking


async def pull(parts: Parts, scope: Scope, source: RegistryImage, destination: StoreImage, report: Report) -> None:
    """Have the image in the store, unpacked as asked, and its names pointing to it."""
    reference = references.parse(source.reference)
    async with AsyncExitStack() as stack:
        scope = await stack.enter_async_context(leased(parts, scope))
        registry = await stack.enter_async_context(client_for(parts, source, report))
        report.say(f"Resolving from {source}")
        target = await registry.resolve(reference)
        naming.pulled(destination, target)  # before anything is fetched
        await parts.verifiers.check(str(reference), target, partial(login_at, registry, reference))
        report.say(f"Pulling from {source}")
        report.say("fetching image content", str(reference), target)
        report.root(str(reference), target)
        sink = parts.sink(scope)
        tree = Documents(registry, reference, sink, report.blob, report.found)
        fetched = await tree.fetch(target, _wanted(destination))
        _check(reference, fetched, destination, report)
        layers = Layers(registry, reference, sink, report.blob, parts.downloads)
        await _fetch_and_unpack(parts, scope, fetched, layers, destination, report)
        if source.referrers is not None:
            subjects = [target, *(image.descriptor for image in fetched if image.whole)]
            await Referrals(tree, source.referrers, parts.downloads).fetch(subjects)
        absent = await _absent(sink, fetched, layers)
        labels = {**destination.labels, unpack.ABSENT: unpack.absent_label(absent)}
        target = await _renewed(sink, target, fetched)
        names = naming.pulled(destination, target)
        await naming.save(parts, scope, names, _plain(target), replace(destination, labels=labels))
    report.done(f"Completed pull from {source}", "saved", names, target)


async def _fetch_and_unpack(
    parts: Parts,
    scope: Scope,
    fetched: list[FetchedManifest],
    layers: Layers,
    destination: StoreImage,
    report: Report,
) -> None:
    """What only remote snapshotters are to have is not fetched before they were asked."""
    asked = [
        (wanted.snapshotter or parts.config.default_snapshotter, image)
        for wanted in destination.unpacks
        for image in to_unpack(fetched, wanted)
    ]
    remote = {image.descriptor.digest for snapshotter, image in asked if parts.remote(snapshotter)}
    remote -= {image.descriptor.digest for snapshotter, image in asked if not parts.remote(snapshotter)}
    try:
        async with asyncio.TaskGroup() as group:
            incoming = _Incoming(layers, group)
            for image in fetched:
                if image.whole and image.descriptor.digest not in remote:
                    incoming.want(image.manifest.layers)
            for snapshotter, image in asked:
                unpacking = Unpacking(parts, scope, snapshotter, report)
                work = unpacking.unpack(image, incoming, layers.reference)
                group.create_task(work, name=f"unpack {image.descriptor.digest}")
    except ExceptionGroup as errors:
        raise errors.exceptions[0] from None


async def _absent(sink: StoreSink, fetched: list[FetchedManifest], layers: Layers) -> list[Descriptor]:
    """The layers of whole images that nobody needed to fetch, and that are not in the store otherwise."""
    whole = {layer.digest: layer for image in fetched if image.whole for layer in image.manifest.layers}
    left = [layer for layer in whole.values() if not layers.started(layer)]
    return [layer for layer in left if not await sink.exists(layer.digest)]


class _Incoming:
    """Layers from the registry, for those who unpack them."""

    def __init__(self, layers: Layers, group: asyncio.TaskGroup) -> None:
        self._layers = layers
        self._group = group

    def want(self, layers: Sequence[Descriptor]) -> None:
        self._layers.start(self._group, layers)

    async def ready(self, layer: Descriptor) -> None:
        await self._layers.ready(layer)

    def arrival(self, layer: Descriptor) -> Arrival | None:
        return self._layers.arrival(layer)


def to_unpack(fetched: list[FetchedManifest], wanted: Unpack) -> list[FetchedManifest]:
    """The images that are for the platform, the best of them if there are several."""
    platform = wanted.platform or platforms.host()
    offered = [
        (found, image)
        for image in fetched
        if image.whole and image.config and (found := image.rank(platform)) is not None
    ]
    return [min(offered, key=lambda each: each[0])[1]] if offered else []


async def _renewed(sink: StoreSink, target: Descriptor, fetched: list[FetchedManifest]) -> Descriptor:
    """What the image is stored as: another manifest if its own has the old media type for a config."""
    image = next((each for each in fetched if each.descriptor.digest == target.digest), None)
    if image is None or image.config is None or not legacy.may_be_image(image.manifest):
        return target
    document = documents.load(await sink.read(target.digest, documents.MAX_SIZE), f"manifest {target.digest}")
    data = legacy.renewed(document)
    renewed = Descriptor(target.media_type, digests.of(data), len(data))
    config = replace(image.manifest.config, media_type=media_types.DOCKER_CONFIG)
    await store_document(sink, renewed, data, [config, *image.manifest.layers])
    return renewed


def _wanted(destination: StoreImage) -> Wanted:
    return Wanted(destination.platforms, destination.all_metadata, destination.manifest_limit, artifacts=True)


def _check(
    reference: references.Reference, fetched: list[FetchedManifest], destination: StoreImage, report: Report
) -> None:
    """Images must be for what they were asked for; an artifact is for everybody, and is never unpacked."""
    asked = destination.platforms
    for image in fetched if asked else ():
        if image.whole and image.config is not None:
            made_for = check(reference, image, asked).platform
            if all(image.rank(each) in (None, UNSURE) for each in asked) and made_for.architecture:
                report.say(f"{WARNING}: {reference} is made for {made_for}, not for {', '.join(map(str, asked))}")


def _plain(target: Descriptor) -> Descriptor:
    return Descriptor(target.media_type, target.digest, target.size)
