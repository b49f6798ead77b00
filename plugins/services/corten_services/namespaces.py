"""The service `Namespaces`: the tenants and their labels."""

from collections.abc import Sequence

from corten import filters
from corten.api.services.namespaces.v1 import namespace_pb2 as pb
from corten.contracts.metadata import NamespaceStore
from corten.contracts.objects import Namespace
from corten.messages.values import named, present
from corten.pools import Pools
from corten.wire.service import CallContext, cancellable
from google.protobuf.empty_pb2 import Empty


class NamespacesService:
    """Needs no namespace header: it is about all of them."""

    def __init__(self, namespaces: NamespaceStore, pools: Pools) -> None:
        self._namespaces = namespaces
        self._pools = pools

    @cancellable
    async def get(self, request: pb.GetNamespaceRequest, call: CallContext) -> pb.GetNamespaceResponse:
        name = named(request.name, "name of the namespace")
        return pb.GetNamespaceResponse(namespace=_message(self._namespaces.get(name)))

    @cancellable
    async def list(self, request: pb.ListNamespacesRequest, call: CallContext) -> pb.ListNamespacesResponse:
        """Filter fields: name, labels."""
        matches = filters.compile([request.filter] if request.filter else [])
        found = await self._pools.run("metadata", self._namespaces.list)
        return pb.ListNamespacesResponse(namespaces=[_message(each) for each in found if matches(_lookup(each))])

    async def create(self, request: pb.CreateNamespaceRequest, call: CallContext) -> pb.CreateNamespaceResponse:
        made = await self._pools.run("metadata", self._namespaces.create, _wanted(request))
        return pb.CreateNamespaceResponse(namespace=_message(made))

    async def update(self, request: pb.UpdateNamespaceRequest, call: CallContext) -> pb.UpdateNamespaceResponse:
        wanted, mask = _wanted(request), list(request.update_mask.paths)
        updated = await self._pools.run("metadata", self._namespaces.update, wanted, mask)
        return pb.UpdateNamespaceResponse(namespace=_message(updated))

    async def delete(self, request: pb.DeleteNamespaceRequest, call: CallContext) -> Empty:
        name = named(request.name, "name of the namespace")
        await self._pools.run("metadata", self._namespaces.delete, name)
        return Empty()


def _wanted(request: pb.CreateNamespaceRequest | pb.UpdateNamespaceRequest) -> Namespace:
    present(request, "namespace")
    return Namespace(named(request.namespace.name, "name of the namespace"), dict(request.namespace.labels))


def _message(value: Namespace) -> pb.Namespace:
    return pb.Namespace(name=value.name, labels=dict(value.labels))


def _lookup(value: Namespace) -> filters.Lookup:
    def field(path: Sequence[str]) -> str | None:
        match list(path):
            case ["name"]:
                return value.name
            case ["labels", *key] if key:
                return value.labels.get(".".join(key))
        return None

    return field
