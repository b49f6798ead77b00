"""Puts CRI together: makes `Parts`, sets each part in it, and says which part serves which RPC."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TypeVar

from corten import CONTAINERD_VERSION
from corten.api.cri.v1 import runtime_pb2 as pb
from corten.errors import FailedPrecondition
from corten.plugin.model import PluginContext
from corten.plugin.types import CRI, EVENT, LEASE, METADATA, NRI, RUNTIME, SANDBOX_STORE
from corten.wire.service import Service

from .config.server import ServerConfig
from .images.starting import ImageParts
from .parts import CriSettings, Parts
from .service import service
from .status.node import NodeStatus
from .versions import Versions

# ruff: noqa: E402  (what is imported below exists on Linux only)
assert sys.platform != "win32"

from .cni.network import CniNetwork
from .cni.settings import of_config
from .namespaces.pod_namespaces import NamespaceMaker

T = TypeVar("T")


class CriServices:
    """The plugin's instance: a provider of services that begins with finding everything from before the start."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._runtime_side: list[object] = [Versions(CONTAINERD_VERSION.removeprefix("v")), NodeStatus(parts)]
        self._image_side: list[object] = [parts.images.service]

    @property
    def services(self) -> Sequence[Service]:
        file, ready = pb.DESCRIPTOR, self._parts.ready
        return (
            service(file.services_by_name["RuntimeService"], self._runtime_side, ready),
            service(file.services_by_name["ImageService"], self._image_side, ready),
        )

    async def start(self) -> None:
        """Begins the recovery; calls wait for it."""
        await self._parts.network.start()
        self._parts.ready.set()


def assemble(context: PluginContext) -> CriServices:
    """Raises FailedPrecondition, with the reason, if one of the other two plugins is not up."""
    settings, images = _of(context, "runtime", CriSettings), _of(context, "images", ImageParts)
    parts = Parts(
        settings=settings,
        images=images,
        server_config=context.config_as(ServerConfig),
        root=context.root,
        state=context.state,
        metadata=context.one(METADATA),
        sandboxes=context.one(SANDBOX_STORE),
        leases=context.one(LEASE),
        runtime=context.one(RUNTIME),
        exchange=context.one(EVENT),
        pools=context.pools,
        supervisor=context.supervisor,
        workers=context.workers,
        hooks=context.hooks,
        plugins=context.plugins,
        namespaces=NamespaceMaker(context.workers, context.pools),
        network=CniNetwork(context.pools, context.supervisor, context.root / "cni", of_config(settings.config)),
        nri=next(iter(context.each(NRI).values()), None),
    )
    return CriServices(parts)


def _of(context: PluginContext, id: str, kind: type[T]) -> T:
    instance = context.each(CRI).get(id)
    if isinstance(instance, kind):
        return instance
    reason = context.failures(CRI).get(id, "it is not there")
    raise FailedPrecondition(f"CRI: plugin {CRI}.{id} is needed: {reason}")
