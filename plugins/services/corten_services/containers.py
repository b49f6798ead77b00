"""The service `Containers`: the records that tasks are made from.

A client that makes a record asks for its task next, most often: the runtime is told, and has a shim forked by then.
"""

from collections.abc import AsyncIterator, Sequence

from corten.api.services.containers.v1 import containers_pb2 as pb
from corten.contracts.metadata import ContainerStore, Metadata
from corten.contracts.objects import Container
from corten.contracts.runtime import Runtime
from corten.messages.containers import container, container_message
from corten.messages.values import named, present
from corten.pools import Pools
from corten.supervisor import Supervisor
from corten.wire.service import CallContext, cancellable
from google.protobuf.empty_pb2 import Empty


class ContainersService:
    """A thin layer over the metadata store."""

    def __init__(self, metadata: Metadata, runtime: Runtime | None, pools: Pools, supervisor: Supervisor) -> None:
        self._metadata, self._runtime = metadata, runtime
        self._pools, self._supervisor = pools, supervisor

    @cancellable
    async def get(self, request: pb.GetContainerRequest, call: CallContext) -> pb.GetContainerResponse:
        store, id = self._store(call), named(request.id, "container id")
        return pb.GetContainerResponse(container=container_message(store.get(id)))

    @cancellable
    async def list(self, request: pb.ListContainersRequest, call: CallContext) -> pb.ListContainersResponse:
        response = pb.ListContainersResponse()
        async for page in self._pages(request, call):
            response.containers.extend(container_message(each) for each in page)
        return response

    async def list_stream(
        self, request: pb.ListContainersRequest, call: CallContext
    ) -> AsyncIterator[pb.ListContainerMessage]:
        async for page in self._pages(request, call):
            for each in page:
                yield pb.ListContainerMessage(container=container_message(each))

    async def create(self, request: pb.CreateContainerRequest, call: CallContext) -> pb.CreateContainerResponse:
        made = await self._pools.run("metadata", self._store(call).create, _wanted(request))
        if self._runtime is not None and not made.sandbox:  # the tasks of a pod share its shim
            self._supervisor.background(f"prepare for {made.id}", self._runtime.prepare(made.runtime.name))
        return pb.CreateContainerResponse(container=container_message(made))

    async def update(self, request: pb.UpdateContainerRequest, call: CallContext) -> pb.UpdateContainerResponse:
        store, mask = self._store(call), list(request.update_mask.paths)
        updated = await self._pools.run("metadata", store.update, _wanted(request), mask)
        return pb.UpdateContainerResponse(container=container_message(updated))

    async def delete(self, request: pb.DeleteContainerRequest, call: CallContext) -> Empty:
        await self._pools.run("metadata", self._store(call).delete, named(request.id, "container id"))
        return Empty()

    def _store(self, call: CallContext) -> ContainerStore:
        return self._metadata.containers(call.scope())

    def _pages(self, request: pb.ListContainersRequest, call: CallContext) -> AsyncIterator[Sequence[Container]]:
        store, filters = self._store(call), list(request.filters)
        return self._pools.iterate("metadata", lambda: store.walk(filters))


def _wanted(request: pb.CreateContainerRequest | pb.UpdateContainerRequest) -> Container:
    present(request, "container")
    named(request.container.id, "container id")
    return container(request.container)
