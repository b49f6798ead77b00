"""The service `Leases`: what clients hold on to while they work."""

from corten.api.services.leases.v1 import leases_pb2 as pb
from corten.contracts.leases import LeaseStore
from corten.contracts.objects import Resource
from corten.messages.leases import lease_message, resource, resource_message
from corten.messages.values import named, present, sought
from corten.pools import Pools
from corten.wire.service import CallContext, cancellable
from google.protobuf.empty_pb2 import Empty


class LeasesService:
    """A thin layer over the lease store."""

    def __init__(self, leases: LeaseStore, pools: Pools) -> None:
        self._leases = leases
        self._pools = pools

    async def create(self, request: pb.CreateRequest, call: CallContext) -> pb.CreateResponse:
        namespace, labels = call.scope().namespace, dict(request.labels)
        made = await self._pools.run("metadata", self._leases.create, namespace, request.id, labels)
        return pb.CreateResponse(lease=lease_message(made))

    async def delete(self, request: pb.DeleteRequest, call: CallContext) -> Empty:
        """With `sync`, what only this lease held is gone when the call returns: that takes a collection."""
        namespace, id = call.scope().namespace, sought(request.id, "lease id")
        pool = "gc" if request.sync else "metadata"
        await self._pools.run(pool, lambda: self._leases.delete(namespace, id, sync=request.sync))
        return Empty()

    @cancellable
    async def list(self, request: pb.ListRequest, call: CallContext) -> pb.ListResponse:
        namespace, filters = call.scope().namespace, list(request.filters)
        found = await self._pools.run("metadata", self._leases.list, namespace, filters)
        return pb.ListResponse(leases=[lease_message(each) for each in found])

    async def add_resource(self, request: pb.AddResourceRequest, call: CallContext) -> Empty:
        namespace, id, held = call.scope().namespace, sought(request.id, "lease id"), _resource(request)
        await self._pools.run("metadata", self._leases.add, namespace, id, held)
        return Empty()

    async def delete_resource(self, request: pb.DeleteResourceRequest, call: CallContext) -> Empty:
        namespace, id, held = call.scope().namespace, sought(request.id, "lease id"), _resource(request)
        await self._pools.run("metadata", self._leases.remove, namespace, id, held)
        return Empty()

    @cancellable
    async def list_resources(self, request: pb.ListResourcesRequest, call: CallContext) -> pb.ListResourcesResponse:
        namespace, id = call.scope().namespace, sought(request.id, "lease id")
        found = await self._pools.run("metadata", self._leases.resources, namespace, id)
        return pb.ListResourcesResponse(resources=[resource_message(each) for each in found])


def _resource(request: pb.AddResourceRequest | pb.DeleteResourceRequest) -> Resource:
    present(request, "resource")
    named(request.resource.id, "id of the resource")
    named(request.resource.type, "type of the resource")
    return resource(request.resource)
