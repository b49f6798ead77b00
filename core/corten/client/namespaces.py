"""Namespaces over the wire."""

from collections.abc import Mapping, Sequence

from corten.api.services.namespaces.v1 import namespace_pb2 as pb
from corten.contracts.objects import Namespace
from corten.messages.values import mask

from .calls import Calls, methods

_RPC = methods(pb, "Namespaces")


class Namespaces:
    """The tenants of a daemon; errors as `corten.contracts.metadata.NamespaceStore`."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    async def create(self, name: str, labels: Mapping[str, str] | None = None) -> Namespace:
        request = pb.CreateNamespaceRequest(namespace=pb.Namespace(name=name, labels=dict(labels or {})))
        return _value((await self._calls.unary(_RPC["Create"], request)).namespace)

    async def get(self, name: str) -> Namespace:
        return _value((await self._calls.unary(_RPC["Get"], pb.GetNamespaceRequest(name=name))).namespace)

    async def list(self) -> list[Namespace]:
        answer = await self._calls.unary(_RPC["List"], pb.ListNamespacesRequest())
        return [_value(message) for message in answer.namespaces]

    async def update(self, namespace: Namespace, fieldpaths: Sequence[str] = ()) -> Namespace:
        """Replace labels: all, or those named by `labels.KEY`; an empty value removes one."""
        message = pb.Namespace(name=namespace.name, labels=dict(namespace.labels))
        request = pb.UpdateNamespaceRequest(namespace=message, update_mask=mask(fieldpaths))
        return _value((await self._calls.unary(_RPC["Update"], request)).namespace)

    async def delete(self, name: str) -> None:
        await self._calls.unary(_RPC["Delete"], pb.DeleteNamespaceRequest(name=name))


def _value(message: pb.Namespace) -> Namespace:
    return Namespace(message.name, dict(message.labels))
