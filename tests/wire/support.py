"""An echo service with every kind of method, and servers for it on sockets of their own."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from corten.contracts.scope import Scope
from corten.errors import from_code
from corten.plugin.model import PluginView, Registration, State
from corten.plugin.types import GRPC
from corten.supervisor import Supervisor
from corten.wire.catalogue import Catalogue
from corten.wire.channel import Channel
from corten.wire.grpc.server import GrpcServer
from corten.wire.grpc.unix_listener import UnixListener
from corten.wire.limits import Limits, TtrpcLimits
from corten.wire.scope import headers
from corten.wire.service import CallContext, Service, cancellable
from corten.wire.ttrpc.client import TtrpcClient
from corten.wire.ttrpc.server import TtrpcServer
from corten.wire.unix import Owner
from google.protobuf import descriptor_pb2, descriptor_pool
from google.protobuf.wrappers_pb2 import StringValue

_KINDS = {
    "Say": (False, False),
    "Work": (False, False),
    "Wait": (False, False),
    "Absent": (False, False),
    "Count": (False, True),
    "Join": (True, False),
    "Chat": (True, True),
    "Store": (True, True),
}


def _echo() -> Any:
    file = descriptor_pb2.FileDescriptorProto(
        name="corten/test/echo.proto",
        package="corten.test",
        syntax="proto3",
        dependency=["google/protobuf/wrappers.proto"],
    )
    service = file.service.add(name="Echo")
    for name, (client, server) in _KINDS.items():
        text = ".google.protobuf.StringValue"
        service.method.add(
            name=name, input_type=text, output_type=text, client_streaming=client, server_streaming=server
        )
    pool = descriptor_pool.Default()
    pool.AddSerializedFile(file.SerializeToString())
    return pool.FindServiceByName("corten.test.Echo")


ECHO = _echo()
SERVICE = "corten.test.Echo"
DEFAULT = headers(Scope("default"))


async def until(condition: Callable[[], bool], timeout: float = 10.0) -> None:
    """Wait for something that gives no sign. Raises TimeoutError."""
    async with asyncio.timeout(timeout):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.005)


def rpc(name: str) -> Any:
    """The descriptor of a method of Echo."""
    return ECHO.methods_by_name[name]


def text(value: str) -> StringValue:
    return StringValue(value=value)


@dataclass
class Echo:
    """Does what the text of a request says, and writes down what became of it."""

    log: list[str] = field(default_factory=list)
    calls: list[CallContext] = field(default_factory=list)
    go: asyncio.Event = field(default_factory=asyncio.Event)
    waiting: int = 0
    counting: int = 0

    @property
    def services(self) -> Sequence[Service]:
        return (Service(ECHO, self),)

    async def until(self, entry: str, timeout: float = 20.0) -> None:
        """Wait until `entry` is in the log."""
        await until(lambda: entry in self.log, timeout)

    async def say(self, request: StringValue, call: CallContext) -> Any:
        self.calls.append(call)
        what, _, rest = request.value.partition(":")
        match what:
            case "raise":
                raise from_code(int(rest), f"told to fail with {rest}")
            case "text":
                raise from_code(5, rest)
            case "boom":
                raise RuntimeError("a bug in the service")
            case "exit":
                raise SystemExit(3)
            case "none":
                return None
            case "self-cancel":
                raise asyncio.CancelledError
            case "size":
                return text("x" * int(rest))
            case "scope":
                return text(f"{call.scope().namespace}/{call.scope().lease}")
        return request

    async def work(self, request: StringValue, call: CallContext) -> StringValue:
        self.log.append("begun")
        await self.go.wait()
        self.log.append(f"gone={call.client_gone}")
        if request.value == "checkpoint":
            call.checkpoint()
        self.log.append("done")
        return request

    @cancellable
    async def wait(self, request: StringValue, call: CallContext) -> StringValue:
        self.waiting += 1
        self.log.append("waiting")
        try:
            await self.go.wait()
        except asyncio.CancelledError:
            self.log.append("cancelled")
            raise
        finally:
            self.waiting -= 1
        return request

    async def count(self, request: StringValue, call: CallContext) -> AsyncIterator[StringValue]:
        self.counting += 1
        try:
            for number in range(int(request.value.partition(":")[0])):
                yield text(f"{number}{'x' * int(request.value.partition(':')[2] or 0)}")
            if request.value == "0":
                await self.go.wait()
        finally:
            self.log.append("closed")

    async def join(self, requests: AsyncIterator[StringValue], call: CallContext) -> StringValue:
        return text("".join([request.value async for request in requests]))

    async def chat(self, requests: AsyncIterator[StringValue], call: CallContext) -> AsyncIterator[StringValue]:
        try:
            async for request in requests:
                if request.value == "boom":
                    raise from_code(9, "told to fail in the stream")
                yield text(request.value.upper())
        finally:
            self.log.append("closed")

    async def store(self, requests: AsyncIterator[StringValue], call: CallContext) -> AsyncIterator[StringValue]:
        """Stands for a content write: its own work must not be cut in two."""
        try:
            async for request in requests:
                self.log.append("begun")
                await self.go.wait()
                self.log.append("done")
                yield request
                self.log.append("replied")
        except BaseException as error:
            self.log.append(type(error).__name__)
            raise


@dataclass(frozen=True)
class View:
    """A plugin as a server sees it."""

    registration: Registration
    state: State
    error: BaseException | None = None
    instance: object | None = None
    exports: Mapping[str, str] = field(default_factory=dict)
    capabilities: tuple[str, ...] = ()
    distribution: str | None = None
    requires_resolved: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


def view(id: str, state: State, *serves: str, error: BaseException | None = None) -> dict[str, PluginView]:
    """One plugin by URI."""
    registration = Registration(type=GRPC, id=id, init=lambda _: None, serves=serves)
    return {registration.uri: View(registration, state, error)}


@asynccontextmanager
async def grpc_server(
    path: Path,
    echo: Echo,
    *,
    limits: Limits | None = None,
    owner: Owner | None = None,
    plugins: Mapping[str, PluginView] | None = None,
    supervisor: Supervisor | None = None,
) -> AsyncIterator[GrpcServer]:
    """A server for `echo` on a socket."""
    supervisor = supervisor or Supervisor()
    listener = UnixListener(str(path), owner or Owner())
    limits = limits or Limits(stop_grace=0.5)
    server = GrpcServer(listener, Catalogue({"echo": echo}, plugins), supervisor, limits)
    await server.start()
    try:
        yield server
    finally:
        echo.go.set()
        await server.close()
        await supervisor.close(1.0)


@asynccontextmanager
async def grpc_pair(path: Path, echo: Echo, **options: Any) -> AsyncIterator[Channel]:
    """A server for `echo` and a client of it."""
    async with grpc_server(path, echo, **options), Channel(str(path)) as channel:
        yield channel


@asynccontextmanager
async def ttrpc_server(
    path: Path, echo: Echo, *, limits: TtrpcLimits | None = None, supervisor: Supervisor | None = None
) -> AsyncIterator[TtrpcServer]:
    """The same over ttrpc."""
    supervisor = supervisor or Supervisor()
    server = TtrpcServer(str(path), Catalogue({"echo": echo}), supervisor, limits or TtrpcLimits(stop_grace=0.5))
    await server.start()
    try:
        yield server
    finally:
        echo.go.set()
        await server.close()
        await supervisor.close(1.0)


@asynccontextmanager
async def ttrpc_pair(path: Path, echo: Echo, **options: Any) -> AsyncIterator[TtrpcClient]:
    """A ttrpc server for `echo` and a client of it."""
    async with ttrpc_server(path, echo, **options):
        client = await TtrpcClient.connect(str(path))
        try:
            yield client
        finally:
            await client.close()
