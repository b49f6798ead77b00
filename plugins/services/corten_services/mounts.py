"""The service `mounts.v1.Mounts`: mounts that are done under a name, and kept track of."""

from collections.abc import AsyncIterator

from corten.api.services.mounts.v1 import mounts_pb2 as pb
from corten.contracts.mounts import MountManager
from corten.messages.activations import activation, activation_message
from corten.messages.values import mounts, named, present
from corten.pools import Pools
from corten.wire.service import CallContext, cancellable
from google.protobuf.empty_pb2 import Empty

POOL = "mounts"
"""A call may wait for another one with the same name: no snapshotter's work waits with it."""


class MountsService:
    """A thin layer over the mount manager."""

    def __init__(self, manager: MountManager, pools: Pools) -> None:
        self._manager, self._pools = manager, pools

    async def activate(self, request: pb.ActivateRequest, call: CallContext) -> pb.ActivateResponse:
        scope, name = call.scope(), named(request.name, "name of the activation")
        made = await self._pools.run(
            POOL,
            lambda: self._manager.activate(
                scope, name, mounts(request.mounts), labels=dict(request.labels), temporary=request.temporary
            ),
        )
        return pb.ActivateResponse(info=activation_message(made))

    async def deactivate(self, request: pb.DeactivateRequest, call: CallContext) -> Empty:
        await self._pools.run(POOL, self._manager.deactivate, call.scope().namespace, request.name)
        return Empty()

    @cancellable
    async def info(self, request: pb.InfoRequest, call: CallContext) -> pb.InfoResponse:
        found = await self._pools.run(POOL, self._manager.info, call.scope().namespace, request.name)
        return pb.InfoResponse(info=activation_message(found))

    async def update(self, request: pb.UpdateRequest, call: CallContext) -> pb.UpdateResponse:
        present(request, "info")
        namespace, wanted, fields = call.scope().namespace, activation(request.info), list(request.update_mask.paths)
        updated = await self._pools.run(POOL, self._manager.update, namespace, wanted, fields)
        return pb.UpdateResponse(info=activation_message(updated))

    async def list(self, request: pb.ListRequest, call: CallContext) -> AsyncIterator[pb.ListMessage]:
        found = await self._pools.run(POOL, self._manager.list, call.scope().namespace, list(request.filters))
        for each in found:
            yield pb.ListMessage(info=activation_message(each))
