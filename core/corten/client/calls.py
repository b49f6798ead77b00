"""A channel bound to one namespace and lease: what every sub-client makes its calls through."""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message

from corten.wire.channel import Channel

NAMESPACE_HEADER = "containerd-namespace"
LEASE_HEADER = "containerd-lease"


def methods(module: ModuleType, service: str) -> Mapping[str, MethodDescriptor]:
    """The RPCs of a service in a `_pb2` module, by name."""
    found: Mapping[str, MethodDescriptor] = module.DESCRIPTOR.services_by_name[service].methods_by_name
    return found


@dataclass(frozen=True)
class Calls:
    """Calls with the headers of a namespace and, if there is one, of a lease that new resources join."""

    channel: Channel
    namespace: str
    lease: str = ""

    @property
    def headers(self) -> dict[str, str]:
        return {NAMESPACE_HEADER: self.namespace} | ({LEASE_HEADER: self.lease} if self.lease else {})

    async def unary(self, method: MethodDescriptor, request: Message, timeout: float | None = None) -> Any:
        return await self.channel.unary(method, request, metadata=self.headers, timeout=timeout)

    def server_stream(self, method: MethodDescriptor, request: Message) -> AsyncIterator[Any]:
        return self.channel.server_stream(method, request, metadata=self.headers)

    def bidi(self, method: MethodDescriptor, requests: AsyncIterator[Message]) -> AsyncIterator[Any]:
        return self.channel.bidi(method, requests, metadata=self.headers)
