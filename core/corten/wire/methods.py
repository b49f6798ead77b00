"""The methods of a `Service`: which function of the implementation answers which RPC, and with which messages."""

import re
from collections.abc import Callable, Sequence
from typing import Any

from google.protobuf.descriptor import FieldDescriptor, MethodDescriptor
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass

from corten.errors import InvalidArgument
from corten.filter_syntax import MAX_LENGTH
from corten.values import dataclass

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
    filters: str = ""
    """The field of the request that holds filters; empty for none."""

    @property
    def stops_at_once(self) -> bool:
        """Whether a call is cancelled where it waits when its client goes away (`corten.wire.running`)."""
        return self.cancellable or (self.server_streaming and not self.client_streaming)

    def parse(self, data: bytes, max_filter_length: int = MAX_LENGTH) -> Message:
        """The request in `data`. Raises InvalidArgument when it is not one, or when a filter in it is too long."""
        try:
            request = self.request.FromString(data)
        except DecodeError as error:
            name = self.request.DESCRIPTOR.full_name
            raise InvalidArgument(f"{self.path}: {len(data)} bytes are no {name}: {error}") from error
        if self.filters:
            self._refuse_long(getattr(request, self.filters), max_filter_length)
        return request

    def _refuse_long(self, filters: str | Sequence[str], limit: int) -> None:
        longest = max((len(each) for each in ([filters] if isinstance(filters, str) else filters)), default=0)
        if longest > limit:
            raise InvalidArgument(
                f"{self.path}: a filter of {longest} characters is longer than the {limit} allowed (max_filter_length)"
            )


def snake_case(name: str) -> str:
    """The implementation's name of an RPC: `ListPids` is `list_pids`, `CloseIO` is `close_io`."""
    return _WORDS.sub("_", name).lower()


def methods_of(service: Service) -> dict[str, Method]:
    """The RPCs that the implementation has a function for, by path."""
    found = (_method(service, rpc) for rpc in service.descriptor.methods)
    return {method.path: method for method in found if method}


def _holds_filters(field: FieldDescriptor) -> bool:
    return field.name in ("filters", "filter") and field.type == field.TYPE_STRING


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
        filters=next((field.name for field in rpc.input_type.fields if _holds_filters(field)), ""),
    )
