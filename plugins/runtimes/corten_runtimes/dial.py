"""Connections to shims over ttrpc or gRPC, with the same calls on both."""

import asyncio
from collections.abc import Callable
from typing import Protocol, TypeVar

from corten.contracts.runtime import ShimEndpoint
from corten.errors import Cancelled, CortenError, Unavailable, Unimplemented
from corten.wire.ttrpc.client import TtrpcClient
from google.protobuf import descriptor_pool
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

M = TypeVar("M", bound=Message)
Closed = Callable[[CortenError | None], None]


class ShimClient(Protocol):
    """A connection; see `TtrpcClient` for what its methods promise."""

    @property
    def closed(self) -> bool: ...
    async def call(
        self, service: str, method: str, request: Message, response_type: type[M], *, timeout: float | None = None
    ) -> M: ...
    async def close(self) -> None: ...
    async def wait_closed(self, timeout: float) -> None: ...


async def dial(endpoint: ShimEndpoint, timeout: float, on_close: Closed) -> ShimClient:
    """Connect to a shim; `on_close` is called once when the connection has ended. Raises Unavailable."""
    if endpoint.protocol == "grpc":
        return await GrpcShim.connect(endpoint.address, timeout, on_close)
    return await TtrpcClient.connect(endpoint.address, timeout=timeout, on_close=on_close)


class GrpcShim:
    """A shim that speaks gRPC. Its messages are those of ttrpc, so requests and answers go over by their bytes."""

    def __init__(self, address: str, on_close: Closed) -> None:
        from corten.api.runtime.sandbox.v1 import sandbox_pb2  # noqa: F401  (their services must be known)
        from corten.api.runtime.task.v2 import shim_pb2 as v2  # noqa: F401
        from corten.api.runtime.task.v3 import shim_pb2 as v3  # noqa: F401
        from corten.wire.channel import Channel

        self._address, self._on_close = address, on_close
        self._channel = Channel(address)
        self._end = asyncio.get_running_loop().create_future()
        self._watch: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        return f"GrpcShim({self._address}{', closed' if self.closed else ''})"

    @classmethod
    async def connect(cls, address: str, timeout: float, on_close: Closed) -> "GrpcShim":
        """Connect, or raise Unavailable after `timeout` seconds."""
        shim = cls(address, on_close)
        try:
            await shim._channel.ready(timeout)
        except BaseException:
            await shim._channel.close()
            raise
        shim._watch = asyncio.create_task(shim._until_broken(), name=f"watch shim {address}")
        return shim

    @property
    def closed(self) -> bool:
        return self._end.done()

    async def call(
        self, service: str, method: str, request: Message, response_type: type[M], *, timeout: float | None = None
    ) -> M:
        if self.closed:
            raise Unavailable(f"shim {self._address}: the connection was closed")
        try:
            found = descriptor_pool.Default().FindServiceByName(service).methods_by_name[method]
        except KeyError:
            raise Unimplemented(f"{service}/{method}: no such method of a shim") from None
        told = GetMessageClass(found.input_type).FromString(request.SerializeToString())
        try:
            answer = await self._channel.unary(found, told, timeout=timeout)
        except Cancelled as error:
            # Nobody here cancels: a server that stops ends its calls so.
            raise Unavailable(f"shim {self._address}: it ended the call {method}: {error.message}") from error
        return response_type.FromString(answer.SerializeToString())

    async def close(self) -> None:
        if self._watch is not None:
            self._watch.cancel()
        await self._channel.close()
        self._over()

    async def wait_closed(self, timeout: float) -> None:
        await asyncio.wait_for(asyncio.shield(self._end), timeout)

    async def _until_broken(self) -> None:
        await self._channel.broken()
        await self._channel.close()
        self._over()

    def _over(self) -> None:
        if not self._end.done():
            self._end.set_result(None)
            self._on_close(None)
