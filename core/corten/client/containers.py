"""Containers, the records tasks are made from, over the wire."""

from collections.abc import AsyncIterator, Sequence

from corten.api.services.containers.v1 import containers_pb2 as pb
from corten.contracts.objects import Container
from corten.messages.containers import container, container_message
from corten.messages.values import mask

from .calls import Calls, methods

_RPC = methods(pb, "Containers")


class Containers:
    """The containers of a namespace; errors as `corten.contracts.metadata.ContainerStore`."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    async def create(self, value: Container) -> Container:
        request = pb.CreateContainerRequest(container=container_message(value))
        return container((await self._calls.unary(_RPC["Create"], request)).container)

    async def get(self, id: str) -> Container:
        return container((await self._calls.unary(_RPC["Get"], pb.GetContainerRequest(id=id))).container)

    async def list(self, filters: Sequence[str] = ()) -> list[Container]:
        return [found async for found in self.walk(filters)]

    async def walk(self, filters: Sequence[str] = ()) -> AsyncIterator[Container]:
        """One at a time, so that any number fits."""
        async for answer in self._calls.server_stream(_RPC["ListStream"], pb.ListContainersRequest(filters=filters)):
            yield container(answer.container)

    async def update(self, value: Container, fieldpaths: Sequence[str] = ()) -> Container:
        request = pb.UpdateContainerRequest(container=container_message(value), update_mask=mask(fieldpaths))
        return container((await self._calls.unary(_RPC["Update"], request)).container)

    async def delete(self, id: str) -> None:
        await self._calls.unary(_RPC["Delete"], pb.DeleteContainerRequest(id=id))
