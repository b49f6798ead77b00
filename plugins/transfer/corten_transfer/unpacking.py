"""Layers of an image into snapshots, while they arrive and side by side where the snapshotter allows it.

Where a snapshot may get its parent at commit (capability `rebase`), all layers are unpacked at once, settled on each
other, synced together and committed from the lowest up. Elsewhere each is unpacked on its parent, one after the other.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from typing import Any, Protocol, TypeVar

from corten.contracts.descriptor import Descriptor
from corten.contracts.diff import Arriving
from corten.contracts.objects import Resource
from corten.contracts.scope import Scope
from corten.errors import (
    Cancelled,
    CortenError,
    FailedPrecondition,
    InvalidArgument,
    PermissionDenied,
    Unimplemented,
    Unknown,
)
from corten.oci_image import gc_labels, media_types, unpack
from corten.oci_image.unpack import UnpackStep
from corten.registry.arrival import Arrival, Followed
from corten.registry.tree import FetchedManifest

from .parts import Parts
from .reporting import Report
from .unpacking_work import Filled, Prepared, Work

T = TypeVar("T")


class Incoming(Protocol):
    """Where the layers come from."""

    def want(self, layers: Sequence[Descriptor]) -> None:
        """These are needed; said before anything else is asked of them."""

    async def ready(self, layer: Descriptor) -> None:
        """Wait until the layer is in the store. Raises what hinders it."""

    def arrival(self, layer: Descriptor) -> Arrival | None:
        """How it comes; None if it is there."""


class AllThere:
    """`Incoming` for layers that are in the store."""

    def want(self, layers: Sequence[Descriptor]) -> None: ...
    async def ready(self, layer: Descriptor) -> None: ...
    def arrival(self, layer: Descriptor) -> Arrival | None:
        return None


class Unpacking:
    """Of one transfer into one snapshotter."""

    def __init__(self, parts: Parts, scope: Scope, snapshotter: str, report: Report) -> None:
        self._parts = parts
        self._scope = scope
        self._name = snapshotter
        self._work = Work(parts.metadata.snapshotter(scope, snapshotter), parts.metadata.content(scope), self._keep)
        self._report = report
        self._running: set[asyncio.Future[Any]] = set()
        self._given_up = False

    async def unpack(self, image: FetchedManifest, incoming: Incoming, reference: str = "") -> None:
        """Have a committed snapshot for each layer; the config's blob keeps the topmost.

        `reference` is what remote snapshotters find the layers by. An image none of whose layers is of a kind for
        containers, nor unpacked by any differ (WebAssembly, say), is whole without snapshots.

        Raises DataLoss for a layer that is not what the config promises, and what differ and snapshotter raise.
        """
        assert image.config is not None
        self._work.differ = self._parts.differs.differ(self._name, image)
        told = reference if self._parts.remote(self._name) else ""
        layers, digest = image.manifest.layers, image.descriptor.digest
        steps = unpack.plan(layers, image.config.diff_ids, reference=told, manifest=digest)
        await self._repair(steps, incoming)
        missing = await self._pool("snapshots", self._work.missing, steps)
        async with self._alone(missing):
            missing = await self._pool("snapshots", self._work.missing, missing)
            self._extracted(steps[: len(steps) - len(missing)])
            try:
                await self._unpack(missing, incoming)
            except Unimplemented:
                if any(media_types.is_layer(layer.media_type) for layer in layers):
                    raise
                incoming.want(layers)
                return
            finally:
                self._given_up = True
                await self._parts.supervisor.operation("clear up after an unpack", self._clear())
        if top := unpack.chain_id(image.config.diff_ids):
            labels = gc_labels.of_unpacked(self._name, top)
            await self._pool("content", self._work.relabel, image.manifest.config.digest, labels)

    async def _repair(self, steps: Sequence[UnpackStep], incoming: Incoming) -> None:
        """Unpack anew what was damaged when the machine went down, below what is built on it."""
        while (found := await self._pool("snapshots", self._work.damaged, steps)) is not None:
            async with self._alone([found]):
                if await self._pool("snapshots", self._work.damaged, [found]) is None:
                    continue  # another pull has repaired it
                labels = {key: value for key, value in found.labels.items() if key != unpack.SNAPSHOT_REF}
                step = replace(found, labels=labels, key=unpack.extract_key(found.chain_id))
                prepared = await self._prepare(step, alone=False)
                incoming.want([step.layer])
                await incoming.ready(step.layer)
                if prepared is not None:
                    filled = await self._fill(prepared, None)
                    await self._operation("repair a snapshot", self._pool("diff", self._work.repair, filled))

    async def _unpack(self, steps: Sequence[UnpackStep], incoming: Incoming) -> None:
        if len(steps) > 1 and self._parts.rebases(self._name):
            steps = await self._together(steps, incoming)
        for number, step in enumerate(steps):
            prepared = await self._prepare(step, alone=False)
            if prepared is not None:
                incoming.want([each.layer for each in steps[number:]])
                filled = await self._filled(prepared, incoming)
                await self._finish([filled])
            self._extracted([step])

    async def _together(self, steps: Sequence[UnpackStep], incoming: Incoming) -> Sequence[UnpackStep]:
        """All at once, the lowest on its parent; returns what must be unpacked one by one."""
        tasks: list[asyncio.Task[Filled | None]] = []
        try:
            async with asyncio.TaskGroup() as group:
                for number, step in enumerate(steps):
                    prepared = await self._prepare(step, alone=number > 0)
                    if prepared is None:
                        break
                    incoming.want([step.layer])
                    tasks.append(group.create_task(self._attempt(prepared, incoming)))
        except ExceptionGroup as errors:
            raise errors.exceptions[0] from None
        filled: list[Filled] = []
        for task in tasks:
            if (found := task.result()) is None:
                break
            filled.append(found)
        left = await self._finish(filled) if filled else []
        # What was begun for these under their keys is removed at the end: they are begun anew.
        return [*left, *(replace(step, key=unpack.extract_key(step.chain_id)) for step in steps[len(filled) :])]

    async def _attempt(self, prepared: Prepared, incoming: Incoming) -> Filled | None:
        """None for a layer that is tried again on its parent, which also tells whether it is the layer's own fault."""
        try:
            return await self._filled(prepared, incoming)
        except (FailedPrecondition, InvalidArgument, PermissionDenied, Unknown):
            if not prepared.alone:
                raise
            return None

    async def _filled(self, prepared: Prepared, incoming: Incoming) -> Filled:
        """While the layer arrives, if there is room for that; else, or if that failed, from the store."""
        layer = prepared.step.layer
        arrival = incoming.arrival(layer)
        if arrival is not None and await arrival.begun():
            async with self._following(arrival, incoming, layer) as following:
                if following is not None:
                    try:
                        filled = await self._fill(prepared, following)
                        await incoming.ready(layer)
                        return filled
                    except CortenError as error:
                        # These bytes were not checked: if they were wrong, the fetch says so, or gets others.
                        await incoming.ready(layer)
                        if prepared.alone and isinstance(error, FailedPrecondition):
                            raise
                    prepared = await self._prepared_anew(prepared)
        await incoming.ready(layer)
        async with self._parts.unpacks:
            return await self._fill(prepared, None)

    @asynccontextmanager
    async def _following(
        self, arrival: Arrival, incoming: Incoming, layer: Descriptor
    ) -> AsyncIterator[Followed | None]:
        """A slot to unpack what arrives, unless it has arrived before there is one.

        These are counted apart, so that slow registries hold up nothing that is in the store.
        """
        slot = asyncio.ensure_future(self._parts.arriving.acquire())
        ready = asyncio.ensure_future(incoming.ready(layer))
        following: Followed | None = None
        try:
            await asyncio.wait([slot, ready], return_when=asyncio.FIRST_COMPLETED)
            following = arrival.followed() if slot.done() else None
            yield following
        finally:
            if following is not None:
                following.close()
            ready.cancel()
            if not slot.cancel():
                self._parts.arriving.release()
            await asyncio.wait([slot, ready])
            if not ready.cancelled():
                _ = ready.exception()  # whoever needs the layer hears of it

    async def _fill(self, prepared: Prepared, source: Arriving | None) -> Filled:
        loop = asyncio.get_running_loop()
        self._report.layer("extracting", prepared.step.layer, 0)

        def told(offset: int) -> None:
            if self._given_up:
                raise Cancelled("the unpacking was given up")
            loop.call_soon_threadsafe(self._report.layer, "extracting", prepared.step.layer, offset)

        return await self._operation(
            f"unpack {prepared.step.layer.digest}",
            self._pool("diff", self._work.fill, prepared, source, told),
        )

    async def _prepare(self, step: UnpackStep, *, alone: bool) -> Prepared | None:
        work = self._pool("snapshots", lambda: self._work.prepare(step, alone=alone))
        return await self._operation(f"prepare {step.chain_id}", work)

    async def _prepared_anew(self, prepared: Prepared) -> Prepared:
        step = replace(prepared.step, key=unpack.extract_key(prepared.step.chain_id))
        again = await self._prepare(step, alone=prepared.alone)
        if again is None:
            raise FailedPrecondition(f"snapshot {step.chain_id}: it came from elsewhere meanwhile (pull again)")
        return again

    async def _finish(self, filled: Sequence[Filled]) -> Sequence[UnpackStep]:
        left = await self._operation("commit layers", self._pool("diff", self._work.finish, filled))
        self._extracted([each.prepared.step for each in filled[: len(filled) - len(left)]])
        return [replace(step, key=unpack.extract_key(step.chain_id)) for step in left]

    def _extracted(self, steps: Sequence[UnpackStep]) -> None:
        for step in steps:
            self._report.layer("extracted", step.layer, step.layer.size)

    @asynccontextmanager
    async def _alone(self, steps: Sequence[UnpackStep]) -> AsyncIterator[None]:
        """Whoever else unpacks the same layers is waited for, and its snapshots are used; lowest first, so that no two
        wait for each other."""
        async with AsyncExitStack() as stack:
            for step in steps:
                key = (self._scope.namespace, self._name, step.chain_id)
                await stack.enter_async_context(self._parts.unpacking.of(key))
            yield

    def _keep(self, snapshot: str) -> None:
        kept = Resource(snapshot, f"snapshots/{self._name}")
        self._parts.leases.add(self._scope.namespace, self._scope.lease, kept)

    async def _pool(self, kind: str, call: Callable[..., T], *args: Any) -> T:
        return await self._parts.pools.run(kind, call, *args)

    async def _operation(self, name: str, work: Coroutine[Any, Any, T]) -> T:
        """Runs to its end also if the transfer is cancelled; `_clear` waits for it."""
        running = asyncio.ensure_future(self._parts.supervisor.operation(name, work))
        self._running.add(running)
        running.add_done_callback(self._ended)
        return await asyncio.shield(running)

    def _ended(self, running: "asyncio.Future[Any]") -> None:
        """Of a transfer that was given up nobody waits for the error, which asyncio would log."""
        self._running.discard(running)
        if not running.cancelled():
            running.exception()

    async def _clear(self) -> None:
        if self._running:
            await asyncio.wait(list(self._running))
        if self._work.keys:
            await self._pool("snapshots", self._work.clear)
