"""UpdateContainerResources: the limits of a container that runs, or will run, and what its record says of them."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from typing import Any

from corten.api.cri.v1 import runtime_pb2 as pb
from corten.contracts.nri import Resources
from corten.contracts.objects import AnyValue
from corten.errors import FailedPrecondition, NotFound
from corten.linux import cgroups
from corten.oci import resources as limits
from corten.oci import spec as oci

from ..parts import SCOPE, Parts
from ..pods import nri_pods
from ..state.containers import Container
from . import documents, nri_containers
from .resources import RESOURCES_TYPE, limits_of, told
from .specs import spec_of

assert sys.platform != "win32"


class Update:
    """Used on the event loop."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def update(self, id: str, wanted: pb.LinuxContainerResources) -> None:
        """Raises NotFound, FailedPrecondition for a container that has ended, and what the runtime refuses."""
        parts = self._parts
        container = parts.containers.get(id)
        async with parts.pod_locks.holding(f"update {container.id}"), parts.holding_nri():
            changes = await self._changes(container, wanted)
            await self.set(container.id, changes)
            found = parts.containers.get(container.id)
            changed = parts.containers.put(replace(found, resources=told(spec_of(parts, container.id))))
            await parts.run(parts.store.save_status, changed)
            if parts.nri is not None and (pod := parts.pods.find(container.pod_id)) is not None:
                seen = nri_containers.container(changed, spec_of(parts, container.id))
                await parts.nri.post_update_container(nri_pods.pod(parts, pod), seen)

    async def set(self, id: str, changes: Resources) -> None:
        """Set limits in the OCI spec's form: in the record, and in the runtime if it runs. All or nothing."""
        parts = self._parts
        container = parts.containers.get(id)
        if container.wire_state not in (pb.CONTAINER_CREATED, pb.CONTAINER_RUNNING):
            raise FailedPrecondition(f"container {id}: cannot update its resources: it has ended")
        before = parts.metadata.containers(SCOPE).get(id)
        document = spec_of(parts, id)
        linux: dict[str, Any] = document.setdefault("linux", {})
        linux["resources"] = limits.merged(linux.get("resources") or {}, changes)
        value = AnyValue(oci.SPEC_TYPE, json.dumps(document, separators=(",", ":")).encode())
        store = parts.metadata.containers(SCOPE)
        await parts.stored(store.update, replace(before, spec=value), ["spec"])
        if container.running:
            try:
                await self._run(id, changes)
            except BaseException:
                await parts.stored(store.update, before, ["spec"])
                raise

    async def _changes(self, container: Container, wanted: pb.LinuxContainerResources) -> Resources:
        parts = self._parts
        linux = pb.LinuxContainerConfig(resources=wanted)
        hugepages = await parts.run(documents.hugepages, parts, linux)
        found: Resources = limits.document(limits_of(wanted, swap=cgroups.has_swap(), hugepages=hugepages))
        if parts.nri is None or (pod := parts.pods.find(container.pod_id)) is None:
            return found
        seen = nri_containers.container(container, spec_of(parts, container.id))
        return await parts.nri.update_container(nri_pods.pod(parts, pod), seen, found)

    async def _run(self, id: str, changes: Resources) -> None:
        value = json.dumps(dict(changes), separators=(",", ":")).encode()
        try:
            await (await self._parts.task(id)).update(AnyValue(RESOURCES_TYPE, value), {})
        except NotFound:
            return
