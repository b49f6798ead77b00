"""A client of any gRPC server, by method descriptors: awaits messages, raises only `corten.errors`.

async with Channel("/run/containerd/containerd.sock") as channel:
    reply = await channel.unary(VERSION.methods_by_name["Version"], Empty())
"""

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import grpc
import grpc.aio
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from corten.errors import CortenError, InvalidArgument, Unavailable, from_code
from corten.values import dataclass

from .address import Address, parse
from .reach import unreachable
from .running import interrupted

MAX_MESSAGE = 16 << 20
"""Bytes of one message, each way: what containerd's clients and servers agree on."""

_NAME = re.compile("[0-9a-z_.-]+")
_UNREACHABLE = ("failed to connect", "Socket closed", "recvmsg", "sendmsg", "connections to all backends failing")
"""How the texts of gRPC's own begin when there is no connection, or no more; a server's texts are kept."""


@dataclass(frozen=True, slots=True)
class ClientTls:
    """Certificates in PEM for a TCP server: its authority, and, for mutual TLS, the client's own pair."""

    ca: bytes | None = None
    cert: bytes | None = None
    key: bytes | None = None
    server_name: str = ""
    """The name in the server's certificate, where it is not the host of the address."""


class Channel:
    """One connection, made at the first call and made again when it breaks. Create it on the event loop.

    Every call raises the error of `corten.errors` that the server answered with; Unavailable or PermissionDenied with
    the address and the remedy when the server cannot be reached; DeadlineExceeded after `timeout` seconds;
    InvalidArgument for an address or metadata that cannot be sent.
    """

    def __init__(self, address: str, *, tls: ClientTls | None = None, max_message: int = MAX_MESSAGE) -> None:
        self.address = parse(address)
        self._channel = _open(self.address, tls, max_message)
        self._calls: dict[MethodDescriptor, Any] = {}

    def __repr__(self) -> str:
        return f"Channel({self.address})"

    async def __aenter__(self) -> "Channel":
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()

    async def close(self) -> None:
        """End the connection; calls under way fail with Unavailable."""
        await self._channel.close()

    async def ready(self, timeout: float) -> None:
        """Wait until the server answers. Raises Unavailable or PermissionDenied after `timeout` seconds."""
        try:
            await asyncio.wait_for(self._channel.channel_ready(), timeout)
        except TimeoutError:
            raise unreachable(self.address) or Unavailable(f"{self.address}: no answer in {timeout:g} s") from None

    async def broken(self) -> None:
        """Return once the connection that `ready` has waited for is lost; it is not made again by this."""
        state = self._channel.get_state()
        while state == grpc.ChannelConnectivity.READY:
            await self._channel.wait_for_state_change(state)
            state = self._channel.get_state()

    async def unary(
        self,
        method: MethodDescriptor,
        request: Message,
        *,
        metadata: Mapping[str, str] = {},
        timeout: float | None = None,
    ) -> Any:
        """One message there, one back."""
        with self._translated():
            return await self._start(method, request, metadata, timeout)

    async def client_stream(
        self,
        method: MethodDescriptor,
        requests: AsyncIterator[Message],
        *,
        metadata: Mapping[str, str] = {},
        timeout: float | None = None,
    ) -> Any:
        """Many messages there, one back."""
        with self._translated():
            return await self._start(method, requests, metadata, timeout)

    def server_stream(
        self,
        method: MethodDescriptor,
        request: Message,
        *,
        metadata: Mapping[str, str] = {},
        timeout: float | None = None,
    ) -> AsyncIterator[Any]:
        """One message there, many back; closing the iterator cancels the call."""
        return self._stream(method, request, metadata, timeout)

    def bidi(
        self,
        method: MethodDescriptor,
        requests: AsyncIterator[Message],
        *,
        metadata: Mapping[str, str] = {},
        timeout: float | None = None,
    ) -> AsyncIterator[Any]:
        """Messages both ways; `requests` is drawn from as the server takes them."""
        return self._stream(method, requests, metadata, timeout)

    async def _stream(
        self, method: MethodDescriptor, request: Any, metadata: Mapping[str, str], timeout: float | None
    ) -> AsyncIterator[Any]:
        with self._translated():
            call = self._start(method, request, metadata, timeout)
            try:
                async for message in call:
                    yield message
            finally:
                call.cancel()

    def _start(self, method: MethodDescriptor, request: Any, metadata: Mapping[str, str], timeout: float | None) -> Any:
        start = self._calls.get(method)
        if start is None:
            start = self._calls[method] = _callable(self._channel, method)
        return start(request, metadata=sendable(metadata), timeout=timeout)

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except grpc.aio.AioRpcError as error:
            raise self._error(error) from error
        except asyncio.CancelledError as error:
            if interrupted():
                raise
            raise Unavailable(f"{self.address}: the connection was closed during the call") from error
        except grpc.aio.UsageError as error:
            raise Unavailable(f"{self.address}: the connection is closed") from error

    def _error(self, error: grpc.aio.AioRpcError) -> CortenError:
        code, details = error.code().value[0], error.details() or error.code().name
        if code != Unavailable.code or not details.startswith(_UNREACHABLE):
            return from_code(code, details)
        return unreachable(self.address) or Unavailable(f"{self.address}: {details} (is cortend running?)")


def sendable(metadata: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """Headers as gRPC takes them. Raises InvalidArgument for names and values that HTTP/2 cannot carry."""
    for name, value in metadata.items():
        if not _NAME.fullmatch(name) or not (value.isascii() and value.isprintable()):
            raise InvalidArgument(f"header {name}: {value[:64]!r} cannot be sent (lower-case name, printable ASCII)")
    return tuple(metadata.items())


def _open(address: Address, tls: ClientTls | None, max_message: int) -> grpc.aio.Channel:
    options: list[tuple[str, Any]] = [
        ("grpc.max_receive_message_length", max_message),
        ("grpc.max_send_message_length", max_message),
        ("grpc.enable_http_proxy", 0),
        ("grpc.use_local_subchannel_pool", 1),
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.max_reconnect_backoff_ms", 3000),
    ]
    if address.path:
        # Go's server refuses an authority that is an escaped path.
        options.append(("grpc.default_authority", "localhost"))
    if tls is None:
        return grpc.aio.insecure_channel(address.target, options=options)
    if tls.server_name:
        options.append(("grpc.ssl_target_name_override", tls.server_name))
    credentials = grpc.ssl_channel_credentials(tls.ca, tls.key, tls.cert)
    return grpc.aio.secure_channel(address.target, credentials, options=options)


def _callable(channel: grpc.aio.Channel, method: MethodDescriptor) -> Any:
    kinds: dict[tuple[bool, bool], Callable[..., Any]] = {
        (False, False): channel.unary_unary,
        (False, True): channel.unary_stream,
        (True, False): channel.stream_unary,
        (True, True): channel.stream_stream,
    }
    service = method.containing_service
    return kinds[method.client_streaming, method.server_streaming](
        f"/{service.full_name}/{method.name}",
        request_serializer=GetMessageClass(method.input_type).SerializeToString,
        response_deserializer=GetMessageClass(method.output_type).FromString,
    )
