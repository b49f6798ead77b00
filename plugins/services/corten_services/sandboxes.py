"""The service `sandbox.v1.Store`: the records of pods."""

from corten.api.services.sandbox.v1 import sandbox_pb2 as pb
from corten.contracts.objects import Sandbox
from corten.contracts.sandboxes import SandboxStore
from corten.messages.sandboxes import sandbox, sandbox_message
from corten.messages.values import named, present
from corten.pools import Pools
from corten.wire.service import CallContext, cancellable


class SandboxesService:
    """A thin layer over the sandbox store."""

    def __init__(self, sandboxes: SandboxStore, pools: Pools) -> None:
        self._sandboxes = sandboxes
        self._pools = pools

    async def create(self, request: pb.StoreCreateRequest, call: CallContext) -> pb.StoreCreateResponse:
        namespace, wanted = call.scope().namespace, _wanted(request)
        made = await self._pools.run("metadata", self._sandboxes.create, namespace, wanted)
        return pb.StoreCreateResponse(sandbox=sandbox_message(made))

    async def update(self, request: pb.StoreUpdateRequest, call: CallContext) -> pb.StoreUpdateResponse:
        namespace, wanted, fields = call.scope().namespace, _wanted(request), list(request.fields)
        updated = await self._pools.run("metadata", self._sandboxes.update, namespace, wanted, fields)
        return pb.StoreUpdateResponse(sandbox=sandbox_message(updated))

    async def delete(self, request: pb.StoreDeleteRequest, call: CallContext) -> pb.StoreDeleteResponse:
        namespace, id = call.scope().namespace, named(request.sandbox_id, "sandbox id")
        await self._pools.run("metadata", self._sandboxes.delete, namespace, id)
        return pb.StoreDeleteResponse()

    @cancellable
    async def list(self, request: pb.StoreListRequest, call: CallContext) -> pb.StoreListResponse:
        namespace, filters = call.scope().namespace, list(request.filters)
        found = await self._pools.run("metadata", self._sandboxes.list, namespace, filters)
        return pb.StoreListResponse(list=[sandbox_message(each) for each in found])

    @cancellable
    async def get(self, request: pb.StoreGetRequest, call: CallContext) -> pb.StoreGetResponse:
        namespace, id = call.scope().namespace, named(request.sandbox_id, "sandbox id")
        found = await self._pools.run("metadata", self._sandboxes.get, namespace, id)
        return pb.StoreGetResponse(sandbox=sandbox_message(found))


def _wanted(request: pb.StoreCreateRequest | pb.StoreUpdateRequest) -> Sandbox:
    present(request, "sandbox")
    named(request.sandbox.sandbox_id, "sandbox id")
    return sandbox(request.sandbox)
