"""The pull: from a reference to an image in a content store; documents first, then the layers side by side."""

import asyncio
from collections.abc import Sequence

from corten.contracts.descriptor import Descriptor
from corten.errors import AlreadyExists, DataLoss, FailedPrecondition, InvalidArgument, NotFound
from corten.oci_image import documents, gc_labels, media_types
from corten.oci_image.choice import choose
from corten.oci_image.model import ImageConfig, Manifest, PulledImage
from corten.platforms import Platform, rank
from corten.references import Reference

from .client import RegistryClient
from .copying import add_labels, copy_blob, open_writer
from .progress import Progress, Show, State, ignore
from .sink import BlobSink, write_whole

CONCURRENCY = 3
"""Layers fetched at once, as containerd and docker do."""
MAX_NESTING = 4
"""Indexes within indexes."""


async def pull(
    registry: RegistryClient,
    reference: Reference,
    sink: BlobSink,
    platform: Platform,
    *,
    progress: Show = ignore,
    concurrency: int = CONCURRENCY,
) -> PulledImage:
    """Have the image for `platform` in the sink, labelled for gc; what is there already is not fetched.

    A cancelled or failed pull leaves ingests, which the next one resumes. The caller holds a lease.
    Raises NotFound also if the image is not made for the platform, InvalidArgument for what is not a container image,
    and the errors named in `corten.registry`.
    """
    source = _Source(registry, reference, sink, progress)
    target = await registry.resolve(reference)
    chosen, manifest = await source.choose_manifest(target, platform)
    config = await source.config(manifest.config)
    _check(reference, manifest, config, platform)
    await source.copy_all(manifest.layers, concurrency)
    return PulledImage(str(reference), target, chosen, manifest.config, manifest.layers, config.diff_ids)


def _check(reference: Reference, manifest: Manifest, config: ImageConfig, platform: Platform) -> None:
    """Before the layers are fetched: do the documents agree, and is the image for this platform?"""
    layers, diff_ids = len(manifest.layers), len(config.diff_ids)
    if layers != diff_ids:
        raise InvalidArgument(f"image {reference}: it has {layers} layers, but its config has {diff_ids} diff ids")
    if config.platform.os and rank(platform, config.platform) is None:
        raise NotFound(f"image {reference}: there is no image for {platform}, only for: {config.platform}")


class _Source:
    """One pull under way."""

    def __init__(self, registry: RegistryClient, reference: Reference, sink: BlobSink, show: Show) -> None:
        self._registry = registry
        self._reference = reference
        self._sink = sink
        self._show = show

    async def choose_manifest(self, target: Descriptor, platform: Platform) -> tuple[Descriptor, Manifest]:
        """Store the documents on the way from `target` to the manifest for the platform."""
        for _ in range(MAX_NESTING):
            what = f"{media_types.kind(target.media_type)} {target.digest} of {self._reference}"
            data = await self._document(target)
            if media_types.kind(target.media_type) != "index":
                manifest = documents.manifest(data, target.media_type, what)
                await self._store(target, data, (manifest.config, *manifest.layers))
                return target, manifest
            index = documents.index(data, target.media_type, what)
            await self._store(target, data, [entry.descriptor for entry in index.entries])
            target = choose(index, platform, what)
        raise InvalidArgument(f"image {self._reference}: indexes are nested more than {MAX_NESTING} deep")

    async def config(self, descriptor: Descriptor) -> ImageConfig:
        """Store the config, and read it."""
        if media_types.kind(descriptor.media_type) != "config":
            raise InvalidArgument(
                f"{self._reference}: it is not a container image: its config is {descriptor.media_type[:200]!r}"
            )
        if descriptor.size > documents.MAX_SIZE:
            raise InvalidArgument(f"image {self._reference}: its config has {descriptor.size} bytes")
        await copy_blob(self._registry, self._reference, descriptor, self._sink, {}, self._show)
        data = await self._sink.read(descriptor.digest, documents.MAX_SIZE)
        return documents.config(data, f"config {descriptor.digest} of {self._reference}")

    async def copy_all(self, blobs: tuple[Descriptor, ...], concurrency: int) -> None:
        """All blobs, each once, up to `concurrency` at a time; the first error ends the others."""
        slots = asyncio.Semaphore(concurrency)
        unique = list({blob.digest: blob for blob in blobs}.values())
        for blob in unique:
            self._show(Progress(blob.digest, media_types.kind(blob.media_type), 0, blob.size, State.WAITING))

        async def copy(blob: Descriptor) -> None:
            async with slots:
                await copy_blob(self._registry, self._reference, blob, self._sink, {}, self._show)

        try:
            async with asyncio.TaskGroup() as group:
                for blob in unique:
                    group.create_task(copy(blob), name=f"pull {blob.digest}")
        except ExceptionGroup as errors:
            raise errors.exceptions[0] from None

    async def _document(self, target: Descriptor) -> bytes:
        """From the store if it is there, else from the registry."""
        try:
            return await self._sink.read(target.digest, documents.MAX_SIZE)
        except NotFound:
            return await self._registry.manifest(self._reference, target)

    async def _store(self, target: Descriptor, data: bytes, children: Sequence[Descriptor]) -> None:
        """A document with the labels that keep its children."""
        labels = gc_labels.of_children(children)
        source = gc_labels.of_source(self._reference.host, self._reference.path)
        writer = await open_writer(self._sink, target)
        kind = media_types.kind(target.media_type)
        if writer is None:
            await add_labels(self._sink, target.digest, labels, self._reference)
            return self._show(Progress(target.digest, kind, target.size, target.size, State.EXISTS))
        try:
            async with writer:
                await write_whole(writer, data)
                await writer.commit(len(data), target.digest, {**labels, **source})
        except AlreadyExists:
            await add_labels(self._sink, target.digest, labels, self._reference)
        except FailedPrecondition as error:
            await self._sink.abort(media_types.ref_key(target.media_type, target.digest))
            raise DataLoss(
                f"{kind} {target.digest}: an earlier pull left other bytes, now dropped (pull again)"
            ) from error
        return self._show(Progress(target.digest, kind, target.size, target.size, State.DONE))
