"""What NRI plugins see of pods and containers, and may do to them."""

from __future__ import annotations

import logging
import sys
from collections.abc import Awaitable, Callable, Sequence

from corten.api.cri.v1 import runtime_pb2 as pb
from corten.contracts.nri import NriContainer, NriPod, Resources
from corten.errors import CortenError

from .parts import Parts
from .pods import nri_pods

# ruff: noqa: E402  (what is imported below exists on Linux only)
assert sys.platform != "win32"

from .containers import nri_containers
from .containers.specs import spec_of

log = logging.getLogger(__name__)

_ALIVE = (pb.CONTAINER_CREATED, pb.CONTAINER_RUNNING)


class WayBack:
    """Fulfils `NriRuntime`; `set` changes limits, `stop` ends a container without grace."""

    def __init__(
        self,
        parts: Parts,
        set: Callable[[str, Resources], Awaitable[None]],
        stop: Callable[[str], Awaitable[None]],
    ) -> None:
        self._parts = parts
        self._set = set
        self._stop = stop

    def pods(self) -> Sequence[NriPod]:
        return [nri_pods.pod(self._parts, each) for each in self._parts.pods.all()]

    def containers(self) -> Sequence[NriContainer]:
        found = []
        for each in self._parts.containers.all():
            if each.wire_state not in _ALIVE:
                continue
            try:
                found.append(nri_containers.container(each, spec_of(self._parts, each.id)))
            except CortenError as error:
                log.warning("NRI: container %s: plugins are not told of it: %s", each.id, error)
        return found

    async def update(self, container_id: str, resources: Resources) -> None:
        if self._parts.containers.find(container_id) is not None:
            await self._set(container_id, resources)

    async def evict(self, container_id: str, reason: str) -> None:
        if self._parts.containers.find(container_id) is not None:
            await self._stop(container_id)
