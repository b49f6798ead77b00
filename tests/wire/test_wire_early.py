"""Calls that come while the plugins behind them still start: real servers of a real life cycle, over real sockets."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from corten.api.ttrpc.request_pb2 import Request, Response
from corten.errors import (
    CortenError,
    DeadlineExceeded,
    FailedPrecondition,
    NotFound,
    Unavailable,
    Unimplemented,
)
from corten.plugin.context import Environment
from corten.plugin.hooks import HookRelay
from corten.plugin.lifecycle import Deadlines, Lifecycle
from corten.plugin.model import Registration
from corten.plugin.record import Found
from corten.plugin.types import GRPC, TTRPC
from corten.pools import Pools
from corten.supervisor import Supervisor
from corten.wire.channel import Channel
from corten.wire.health import DESCRIPTOR
from corten.wire.registration import plugins
from corten.wire.service import Service
from corten.wire.ttrpc.client import TtrpcClient
from corten.wire.ttrpc.frames import DATA, NO_DATA, REMOTE_CLOSED, REMOTE_OPEN, REQUEST, Decoder, Frame, encode
from corten.zygote.client import Zygote
from google.protobuf import descriptor_pb2, descriptor_pool
from google.protobuf.wrappers_pb2 import StringValue
from grpc_health.v1 import health_pb2
from wire.support import DEFAULT, ECHO, SERVICE, Echo, rpc, text, until

HEALTH = DESCRIPTOR.methods_by_name["Check"]
DEADLINES = Deadlines(start=20)


def service(name: str) -> Any:
    """The descriptor of a service with one method, Say."""
    file = descriptor_pb2.FileDescriptorProto(name=f"corten/test/{name}.proto", package="corten.test", syntax="proto3")
    file.dependency.append("google/protobuf/wrappers.proto")
    kind = ".google.protobuf.StringValue"
    file.service.add(name=name).method.add(name="Say", input_type=kind, output_type=kind)
    pool = descriptor_pool.Default()
    pool.AddSerializedFile(file.SerializeToString())
    return pool.FindServiceByName(f"corten.test.{name}")


OTHER, NOBODYS = service("Other"), service("Nobody")


class Slow:
    """A plugin whose start takes until it is let `go`; then it is up, or fails with `error`."""

    def __init__(self) -> None:
        self.echo = Echo()
        self.services = (Service(ECHO, self.echo),)
        self.go = asyncio.Event()
        self.error: Exception | None = None

    async def start(self) -> None:
        await self.go.wait()
        if self.error:
            raise self.error


class Ready:
    """Another service; up at once."""

    def __init__(self) -> None:
        self.services = (Service(OTHER, Echo()),)


class Booting:
    """A start under way: its sockets are there, `slow` is not up."""

    def __init__(self, folder: Path, life: Lifecycle, slow: Slow) -> None:
        self.address, self.life, self.slow = str(folder / "c.sock"), life, slow
        self.starting: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def early(self, call: Awaitable[Any]) -> "asyncio.Task[Any]":
        """The call as a task, which waits."""
        task = asyncio.ensure_future(_awaited(call))
        await asyncio.sleep(0.1)
        assert not task.done(), task
        return task


async def _awaited(call: Awaitable[Any]) -> Any:
    return await call


async def all_of(replies: AsyncIterator[Any]) -> list[str]:
    return [each.value async for each in replies]


async def words(*values: str) -> AsyncIterator[Any]:
    for each in values:
        yield text(each)


def plugin(make: Callable[[], object], *serves: str, type: Any = GRPC, id: str = "slow") -> Found:
    return Found(Registration(type, id, lambda _: make(), serves=serves), "test 1.0", False)


@asynccontextmanager
async def booting(
    folder: Path,
    *more: Found,
    serves: tuple[str, ...] = (SERVICE,),
    type: Any = GRPC,
    required: frozenset[str] = frozenset(),
) -> AsyncIterator[Booting]:
    """A daemon of the servers and of `slow`, which offers Echo."""
    pools, supervisor, slow = Pools(), Supervisor(), Slow()
    own = [Found(each, "corten 1.0", True) for each in plugins()]
    slow_one = plugin(lambda: slow, *serves, type=type)
    other = plugin(Ready, OTHER.full_name, id="other")
    life = Lifecycle([*own, slow_one, other, *more], required=required, deadlines=DEADLINES)
    environment = Environment(
        folder / "root", folder / "state", str(folder / "c.sock"), str(folder / "c.sock.ttrpc"),
        pools, supervisor, Zygote(()), HookRelay(pools),
    )  # fmt: skip
    boot = Booting(folder, life, slow)
    boot.starting = asyncio.ensure_future(life.start(environment))
    try:
        await until(lambda: Path(boot.address).exists() and Path(f"{boot.address}.ttrpc").exists())
        yield boot
    finally:
        boot.starting.cancel()
        await asyncio.wait({boot.starting})
        await life.stop(environment.hooks)
        await supervisor.close(1)
        pools.close()


async def outcomes(channel: Channel) -> list[Any]:
    """One call of each kind, and what becomes of it."""
    calls: list[Awaitable[Any]] = [
        channel.unary(rpc("Say"), text("x")),
        channel.unary(rpc("Say"), text("scope"), metadata=DEFAULT),
        channel.client_stream(rpc("Join"), words("a", "b", "c")),
        channel.client_stream(rpc("Join"), words()),
        all_of(channel.server_stream(rpc("Count"), text("3"))),
        all_of(channel.bidi(rpc("Chat"), words("a", "b"))),
        channel.unary(rpc("Say"), text("raise:5")),
        channel.unary(rpc("Say"), text("boom")),
        channel.unary(rpc("Absent"), text("x")),
        all_of(channel.bidi(rpc("Chat"), words("a", "boom"))),
        channel.unary(rpc("Say"), text(f"size:{17 << 20}")),
    ]
    done = await asyncio.gather(*calls, return_exceptions=True)
    return [(type(each), each.message) if isinstance(each, CortenError) else each for each in done]


async def test_an_early_call_of_every_kind_ends_as_a_later_one(tmp_path: Path) -> None:
    async with booting(tmp_path) as boot, Channel(boot.address) as channel:
        early = await boot.early(outcomes(channel))
        assert boot.slow.echo.calls == []
        boot.slow.go.set()
        found = await early
        await boot.starting
        assert found == await outcomes(channel)
        assert found[:2] == [text("x"), text("default/")] and found[6][0] is NotFound


async def test_a_call_waits_for_its_own_plugin_only(tmp_path: Path) -> None:
    async with booting(tmp_path) as boot, Channel(boot.address) as channel:
        assert await channel.unary(OTHER.methods_by_name["Say"], text("x")) == text("x")
        assert not boot.starting.done()


async def test_the_health_of_the_daemon_is_told_when_it_is_up(tmp_path: Path) -> None:
    async with booting(tmp_path) as boot, Channel(boot.address) as channel:
        health = await boot.early(channel.unary(HEALTH, health_pb2.HealthCheckRequest()))
        boot.slow.go.set()
        assert (await health).status == health_pb2.HealthCheckResponse.SERVING
        await boot.starting


async def test_a_plugin_that_fails_answers_with_its_reason_while_others_start(tmp_path: Path) -> None:
    stuck = Slow()
    async with booting(tmp_path, plugin(lambda: stuck, "test.Stuck", id="stuck")) as boot:
        async with Channel(boot.address) as channel:
            early = await boot.early(channel.unary(rpc("Say"), text("x")))
            boot.slow.error = ValueError("the tape is torn")
            boot.slow.go.set()
            with pytest.raises(FailedPrecondition, match="the tape is torn"):
                await early
        assert not boot.starting.done()


async def test_an_unknown_service_is_refused_when_nobody_can_offer_it_any_more(tmp_path: Path) -> None:
    async with booting(tmp_path, serves=()) as boot, Channel(boot.address) as channel:
        known = await boot.early(channel.unary(rpc("Say"), text("x")))  # by a plugin that does not name it
        unknown = await boot.early(channel.unary(NOBODYS.methods_by_name["Say"], text("x")))
        boot.slow.go.set()
        assert await known == text("x")
        with pytest.raises(Unimplemented, match=r"unknown service corten\.test\.Nobody"):
            await unknown


async def test_the_deadline_of_an_early_call_runs(tmp_path: Path) -> None:
    async with booting(tmp_path) as boot, Channel(boot.address) as channel:
        with pytest.raises(DeadlineExceeded):
            await channel.unary(rpc("Say"), text("x"), timeout=0.2)
        boot.slow.go.set()
        await boot.starting
        assert boot.slow.echo.calls == []


async def test_an_early_call_whose_client_leaves_never_begins(tmp_path: Path) -> None:
    async with booting(tmp_path) as boot:
        async with Channel(boot.address) as channel:
            early = await boot.early(channel.unary(rpc("Say"), text("x")))
            early.cancel()
            await asyncio.wait({early})
            for _ in range(5):  # on the same connection: what was sent before has arrived
                await channel.unary(OTHER.methods_by_name["Say"], text("x"))
            boot.slow.go.set()
            await boot.starting
            assert await channel.unary(rpc("Say"), text("y")) == text("y")
        assert len(boot.slow.echo.calls) == 1


async def test_an_early_write_is_not_cut_in_two(tmp_path: Path) -> None:
    """A method that must run to its end does so when its client leaves after the start."""
    async with booting(tmp_path) as boot:
        async with Channel(boot.address) as channel:
            early = await boot.early(channel.unary(rpc("Work"), text("x")))
            boot.slow.go.set()
            await boot.slow.echo.until("begun")
            early.cancel()
            await asyncio.wait({early})
        boot.slow.echo.go.set()
        await boot.slow.echo.until("done")


async def test_a_stop_during_the_start_ends_the_calls_that_wait(tmp_path: Path) -> None:
    async with booting(tmp_path) as boot, Channel(boot.address) as channel:
        early = await boot.early(channel.unary(rpc("Say"), text("x")))
        boot.starting.cancel()
        await asyncio.wait({boot.starting})
        await boot.life.stop()
        with pytest.raises(Unavailable, match=r"corten\.test\.Echo"):
            await early
        assert not Path(boot.address).exists()


async def test_a_start_that_fails_tells_those_who_wait_for_it(tmp_path: Path) -> None:
    uri = f"{GRPC}.slow"
    async with booting(tmp_path, required=frozenset({uri})) as boot, Channel(boot.address) as channel:
        health = await boot.early(channel.unary(HEALTH, health_pb2.HealthCheckRequest()))
        boot.slow.error = ValueError("the tape is torn")
        boot.slow.go.set()
        with pytest.raises(Unavailable, match=r"did not start: .*grpc\.v1\.slow.*the tape is torn"):
            await health
        with pytest.raises(FailedPrecondition, match="the tape is torn"):
            await boot.starting


def say(client: TtrpcClient, value: str, **options: Any) -> Awaitable[Any]:
    return client.call(SERVICE, "Say", text(value), StringValue, **options)


async def join(address: str, *values: str) -> str:
    """A stream of requests by hand, all sent at once."""
    reader, writer = await asyncio.open_unix_connection(address)
    request = Request(service=SERVICE, method="Join", payload=text(values[0]).SerializeToString())
    writer.write(encode(1, REQUEST, request.SerializeToString(), REMOTE_OPEN))
    for value in values[1:]:
        writer.write(encode(1, DATA, text(value).SerializeToString()))
    writer.write(encode(1, DATA, b"", REMOTE_CLOSED | NO_DATA))
    decoder = Decoder()
    while not (frames := decoder.feed(await reader.read(4096))):
        pass
    writer.close()
    assert isinstance(frames[0], Frame)
    return StringValue.FromString(Response.FromString(frames[0].data).payload).value


async def test_early_calls_over_ttrpc(tmp_path: Path) -> None:
    async with booting(tmp_path, type=TTRPC) as boot:
        client = await TtrpcClient.connect(f"{boot.address}.ttrpc")
        try:
            said = await boot.early(say(client, "x"))
            counted = await boot.early(all_of(client.stream(SERVICE, "Count", text("3"), StringValue)))
            joined = await boot.early(join(f"{boot.address}.ttrpc", "a", "b", "c"))
            with pytest.raises(DeadlineExceeded):
                await say(client, "x", timeout=0.2)
            boot.slow.go.set()
            assert (await said, await counted, await joined) == (text("x"), ["0", "1", "2"], "abc")
            with pytest.raises(Unimplemented, match="unknown method Absent"):
                await client.call(SERVICE, "Absent", text("x"), StringValue)
            await boot.starting
            with pytest.raises(Unimplemented, match="unknown service"):
                await client.call("test.Nobody", "Say", text("x"), StringValue)
        finally:
            await client.close()


async def test_a_stop_ends_the_early_calls_over_ttrpc(tmp_path: Path) -> None:
    async with booting(tmp_path, type=TTRPC) as boot:
        client = await TtrpcClient.connect(f"{boot.address}.ttrpc")
        try:
            early = await boot.early(say(client, "x"))
            boot.starting.cancel()
            await asyncio.wait({boot.starting})
            await boot.life.stop()
            with pytest.raises(Unavailable):
                await early
        finally:
            await client.close()
