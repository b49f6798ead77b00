"""RemoveContainer: a running container is killed; then everything of it goes, its record last."""

from __future__ import annotations

import logging
from contextlib import suppress
from dataclasses import replace

from corten.api.cri.v1 import runtime_pb2 as pb
from corten.errors import CortenError, FailedPrecondition, NotFound

from ..parts import SCOPE, Parts
from ..pods import nri_pods
from ..state.containers import Container
from . import folders, nri_containers
from .exits import Exits
from .specs import spec_of
from .stopping import Stop

log = logging.getLogger(__name__)


class Removal:
    """Used on the event loop; every step may be done again."""

    def __init__(self, parts: Parts, stop: Stop, exits: Exits) -> None:
        self._parts = parts
        self._stop = stop
        self._exits = exits

    async def remove(self, id: str) -> None:
        """Harmless for one that is gone. Raises FailedPrecondition while it is being started or removed."""
        parts = self._parts
        container = parts.containers.find(id)
        if container is None:
            return
        if container.starting or container.removing:
            raise FailedPrecondition(f"container {id}: cannot remove: it is being started or removed")
        parts.containers.put(replace(container, removing=True))
        try:
            await self._stop.stop(id, 0)
            await self._exits.ended(id)  # its task goes a moment after its end is known
            await self._remove(parts.containers.find(id) or container)
        except BaseException:
            if (found := parts.containers.find(id)) is not None:
                parts.containers.put(replace(found, removing=False))
            raise
        log.info("container %s (%s) is removed", id, container.name)

    async def _remove(self, container: Container) -> None:
        parts, id = self._parts, container.id
        await self._tell_nri(container)
        with suppress(NotFound):
            snapshots = parts.metadata.snapshotter(SCOPE, container.snapshotter)
            await parts.pools.run("snapshots", snapshots.remove, id)
        await parts.run(folders.remove, parts, id)
        with suppress(NotFound):
            await parts.stored(parts.metadata.containers(SCOPE).delete, id)
        parts.containers.drop(id)
        parts.arrivals.forget(f"container {container.name}")
        parts.events.publish(pb.CONTAINER_DELETED_EVENT, id, container.pod_id)

    async def _tell_nri(self, container: Container) -> None:
        parts = self._parts
        if parts.nri is None or (pod := parts.pods.find(container.pod_id)) is None:
            return
        with suppress(CortenError):
            told = nri_containers.container(container, spec_of(parts, container.id))
            await parts.nri.remove_container(nri_pods.pod(parts, pod), told)
