"""The methods of a `Service`: which function of the implementation answers which RPC, and with which messages."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass

from corten.errors import InvalidArgument

from .service import Service, is_cancellable

_WORDS = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


@dataclass(frozen=True, slots=True)
class Method:
    """One RPC of a service that has an implementation."""

    path: str
    """`package.Service/Method`."""
    run: Callable[..., Any]
    request: type[Message]
    response: type[Message]
    client_streaming: bool
    server_streaming: bool
    cancellable: bool

    @property
    def stops_at_once(self) -> bool:
        """Whether a call is cancelled where it waits when its client goes away (`corten.wire.running`)."""
        return self.cancellable or (self.server_streaming and not self.client_streaming)

    def parse(self, data: bytes) -> Message:
        """The request in `data`. Raises InvalidArgument when it is not one."""
        try:
            return self.request.FromString(data)
        except DecodeError as error:
            name = self.request.DESCRIPTOR.full_name
            raise InvalidArgument(f"{self.path}: {len(data)} bytes are no {name}: {error}") from error


def snake_case(name: str) -> str:
    """The implementation's name of an RPC: `ListPids` is `list_pids`, `CloseIO` is `close_io`."""
    return _WORDS.sub("_", name).lower()


def methods_of(service: Service) -> dict[str, Method]:
    """The RPCs that the implementation has a function for, by path."""
    found = (_method(service, rpc) for rpc in service.descriptor.methods)
    return {method.path: method for method in found if method}


def _method(service: Service, rpc: MethodDescriptor) -> Method | None:
    run = getattr(service.implementation, snake_case(rpc.name), None)
    if run is None:
        return None
    return Method(
        path=f"{service.name}/{rpc.name}",
        run=run,
        request=GetMessageClass(rpc.input_type),
        response=GetMessageClass(rpc.output_type),
        client_streaming=rpc.client_streaming,
        server_streaming=rpc.server_streaming,
        cancellable=is_cancellable(run),
    )
