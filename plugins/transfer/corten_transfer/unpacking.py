"""Layers of an image into snapshots, each as soon as it and what lies below it are there."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

from corten.contracts.content import ContentInfo, ContentStore
from corten.contracts.descriptor import Descriptor
from corten.contracts.scope import Scope
from corten.contracts.snapshots import Snapshotter
from corten.errors import AlreadyExists, CortenError, DataLoss, NotFound
from corten.oci_image import gc_labels, unpack
from corten.oci_image.unpack import UnpackStep
from corten.registry.tree import FetchedManifest

from .parts import Parts
from .reporting import Report

Ready = Callable[[Descriptor], Awaitable[None]]
"""Waits until a layer is in the store."""


class Unpacking:
    """Of one transfer into one snapshotter."""

    def __init__(self, parts: Parts, scope: Scope, snapshotter: str, report: Report) -> None:
        self._parts = parts
        self._scope = scope
        self._name = snapshotter
        self._snapshots: Snapshotter = parts.metadata.snapshotter(scope, snapshotter)
        self._content: ContentStore = parts.metadata.content(scope)
        self._report = report

    async def unpack(self, image: FetchedManifest, ready: Ready) -> None:
        """Have a committed snapshot for each layer; the config's blob keeps the topmost.

        Raises DataLoss for a layer that is not what the config promises, and what differ and snapshotter raise.
        """
        assert image.config is not None
        for step in unpack.plan(image.manifest.layers, image.config.diff_ids):
            # Whoever else unpacks the same layers is waited for, and its snapshots are used.
            async with self._parts.unpacking.of((self._scope.namespace, self._name, step.chain_id)):
                if not await self._exists(step.chain_id):
                    await ready(step.layer)
                    async with self._parts.unpacks:
                        await self._step(step)
            self._report.layer("extracted", step.layer, step.layer.size)
        if top := unpack.chain_id(image.config.diff_ids):
            await self._label(image.manifest.config.digest, gc_labels.of_unpacked(self._name, top))

    async def _step(self, step: UnpackStep) -> None:
        """Runs to its end also if the transfer is cancelled, so that nothing half done is left."""
        self._report.layer("extracting", step.layer, 0)
        loop = asyncio.get_running_loop()

        def progress(offset: int) -> None:
            loop.call_soon_threadsafe(self._report.layer, "extracting", step.layer, offset)

        work = self._parts.pools.run("diff", self._apply, step, progress)
        await self._parts.supervisor.operation(f"unpack {step.layer.digest}", work)

    def _apply(self, step: UnpackStep, progress: Callable[[int], None]) -> None:
        try:
            mounts = self._snapshots.prepare(step.key, step.parent, step.labels)
        except AlreadyExists:  # a snapshotter that has the layer already, remotely say, answers so
            self._snapshots.stat(step.chain_id)
            return
        try:
            applied = self._parts.differ.apply(step.layer, mounts, self._content, progress=progress)
            if applied.digest != step.diff_id:
                raise DataLoss(
                    f"layer {step.layer.digest}: unpacks to {applied.digest}, "
                    f"but the image's config says {step.diff_id}"
                )
            self._snapshots.commit(step.chain_id, step.key, step.labels)
        except BaseException as error:
            with suppress(CortenError):
                self._snapshots.remove(step.key)
            if isinstance(error, AlreadyExists):  # another client was faster: its snapshot is as good
                return
            raise
        self._relabel(step.layer.digest, dict(step.layer_labels))

    async def _exists(self, name: str) -> bool:
        try:
            await self._parts.pools.run("snapshots", self._snapshots.stat, name)
        except NotFound:
            return False
        return True

    async def _label(self, digest: str, labels: dict[str, str]) -> None:
        await self._parts.pools.run("content", self._relabel, digest, labels)

    def _relabel(self, digest: str, labels: dict[str, str]) -> None:
        self._content.update(ContentInfo(digest, labels=labels), [f"labels.{key}" for key in labels])
