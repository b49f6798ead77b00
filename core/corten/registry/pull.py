"""The pull: from a reference to an image in a content store; documents first, then the layers side by side."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Protocol

from corten.contracts.descriptor import Descriptor
from corten.oci_image import media_types
from corten.oci_image.model import ImageConfig, Manifest, PulledImage
from corten.platforms import Platform
from corten.references import Reference

from .arrival import Arrival
from .copying import copy_blob
from .progress import Progress, Show, State, ignore
from .sink import BlobSink
from .tree import Documents, Wanted, check

if TYPE_CHECKING:  # what a pull needs of HTTP is not imported before there is one
    from .client import RegistryClient

CONCURRENCY = 3
"""Layers fetched at once, as containerd and docker do."""
Stored = Callable[[Descriptor], Awaitable[None]]
"""Waits until a layer is in the sink."""


class Beside(Protocol):
    """What goes on while layers are fetched: unpacking those that are there, say.

    `target` is the manifest's descriptor. Its failure ends the pull, and the pull's failure cancels it.
    """

    async def __call__(self, target: Descriptor, manifest: Manifest, config: ImageConfig, stored: Stored) -> None:
        """Work until all is done."""


async def pull(
    registry: RegistryClient,
    reference: Reference,
    sink: BlobSink,
    platform: Platform,
    *,
    progress: Show = ignore,
    concurrency: int = CONCURRENCY,
    beside: Beside | None = None,
    referrers: Sequence[str] | None = None,
) -> PulledImage:
    """Have the image for `platform` in the sink, labelled for gc; what is there already is not fetched.

    `referrers`: what refers to it comes too, of these artifact types or, if none is named, of any.
    A cancelled or failed pull leaves ingests, which the next one resumes. The caller holds a lease.
    Raises NotFound also if the image is not made for the platform, InvalidArgument for what is not a container image,
    and the errors named in `corten.registry`.
    """
    target = await registry.resolve(reference)
    documents = Documents(registry, reference, sink, progress)
    fetched = (await documents.fetch(target, Wanted((platform,), limit=1)))[0]
    config, manifest = check(reference, fetched, [platform]), fetched.manifest
    slots = asyncio.Semaphore(concurrency)
    layers = Layers(registry, reference, sink, progress, slots)
    try:
        async with asyncio.TaskGroup() as group:
            layers.start(group, manifest.layers)
            if beside is not None:
                await beside(fetched.descriptor, manifest, config, layers.ready)
    except ExceptionGroup as errors:
        raise errors.exceptions[0] from None
    if referrers is not None:
        from .referred import Referrals  # brings HTTP along

        await Referrals(documents, referrers, slots).fetch([target, fetched.descriptor])
    return PulledImage(str(reference), target, fetched.descriptor, manifest.config, manifest.layers, config.diff_ids)


class Layers:
    """The layers of an image on their way, as many at once as `slots` lets."""

    def __init__(
        self, registry: RegistryClient, reference: Reference, sink: BlobSink, show: Show, slots: asyncio.Semaphore
    ) -> None:
        self._registry = registry
        self._reference = reference
        self._sink = sink
        self._show = show
        self._slots = slots
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._arrivals: dict[str, Arrival] = {}

    def start(self, group: asyncio.TaskGroup, blobs: Sequence[Descriptor]) -> None:
        """Fetch all of these, each once; the first error ends the group."""
        for blob in blobs:
            if blob.digest not in self._tasks:
                kind = media_types.kind(blob.media_type)
                self._show(Progress(blob.digest, kind, 0, blob.size, State.WAITING))
                self._arrivals[blob.digest] = Arrival(blob.digest)
                self._tasks[blob.digest] = group.create_task(self._copy(blob), name=f"pull {blob.digest}")

    @property
    def reference(self) -> str:
        """Of the image that they are layers of."""
        return str(self._reference)

    def started(self, blob: Descriptor) -> bool:
        return blob.digest in self._tasks

    async def ready(self, blob: Descriptor) -> None:
        """Wait until a blob that was started is there."""
        await asyncio.shield(self._tasks[blob.digest])

    def arrival(self, blob: Descriptor) -> Arrival:
        """How a blob that was started comes."""
        return self._arrivals[blob.digest]

    async def _copy(self, blob: Descriptor) -> None:
        arrival = self._arrivals[blob.digest]
        try:
            async with self._slots:
                await copy_blob(self._registry, self._reference, blob, self._sink, {}, self._show, arrival)
        finally:
            arrival.close()
