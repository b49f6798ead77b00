"""Streams between a client and the daemon: found by id, both ways, ended by either side, by a lease, by going away."""

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest
from corten.api.services.streaming.v1 import streaming_pb2 as pb
from corten.client.calls import Calls, methods
from corten.client.client import Client
from corten.contracts.objects import AnyValue
from corten.contracts.scope import Scope
from corten.errors import AlreadyExists, Cancelled, InvalidArgument, NotFound, Unavailable
from corten.wire.channel import Channel
from corten_services.streaming import AHEAD, WireStream
from corten_transfer.streams import OpenStreams, StreamCollector
from daemon import Daemon, running_daemon
from google.protobuf.any_pb2 import Any

STREAM = methods(pb, "Streaming")["Stream"]
HERE = Scope("default")


def init(id: str) -> Any:
    return Any(type_url="containerd.services.streaming.v1.StreamInit", value=pb.StreamInit(id=id).SerializeToString())


def message(text: str) -> AnyValue:
    return AnyValue("text", text.encode())


def test_streams_are_found_in_their_namespace_only() -> None:
    streams, one, two = OpenStreams(), WireStream("a"), WireStream("a")
    streams.register(HERE, "a", one)
    streams.register(Scope("other"), "a", two)
    assert streams.get(Scope("default", "lease"), "a") is one
    with pytest.raises(AlreadyExists):
        streams.register(HERE, "a", two)
    with pytest.raises(InvalidArgument):
        streams.register(HERE, "", two)
    streams.release(HERE, "a", two)
    assert streams.get(HERE, "a") is one
    streams.release(HERE, "a", one)
    with pytest.raises(NotFound):
        streams.get(HERE, "a")


async def test_a_stream_ends_with_its_lease() -> None:
    streams, leased, free = OpenStreams(), WireStream("leased"), WireStream("free")
    await streams.start()
    streams.register(Scope("default", "l"), "leased", leased)
    streams.register(HERE, "free", free)
    collection = StreamCollector(streams).start()
    (held,) = collection.leased("default", "l")
    assert [node.key for node in collection.active("default")] == ["free"]
    collection.remove(held)
    collection.finish()
    assert await asyncio.wait_for(leased.outgoing(), 5) is None
    with pytest.raises(Unavailable):
        await leased.send(message("x"))
    await free.send(message("x"))


async def test_what_was_sent_before_the_end_arrives() -> None:
    stream = WireStream("s")
    await stream.send(message("a"))
    await stream.close()
    assert [await stream.outgoing(), await stream.outgoing()] == [message("a"), None]


async def test_who_waits_to_send_is_woken_by_the_end() -> None:
    stream = WireStream("s")
    for _ in range(AHEAD):
        await stream.send(message("x"))
    waiting = asyncio.create_task(stream.send(message("y")))
    await asyncio.sleep(0)
    stream.end()
    with pytest.raises(Unavailable):
        await waiting
    assert await stream.receive() is None
    assert await stream.receive() is None


async def test_a_client_that_goes_is_told_from_one_that_is_done() -> None:
    async def breaks() -> AsyncIterator[Any]:
        yield Any(type_url="text", value=b"a")
        raise Cancelled("gone")

    stream = WireStream("s")
    await stream.feed(breaks())
    assert await stream.receive() == message("a")
    with pytest.raises(Cancelled, match="the client went away"):
        await stream.receive()


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    with running_daemon() as running:
        yield running


@pytest.mark.integration
async def test_over_the_wire(daemon: Daemon) -> None:
    channel = Channel(daemon.address)
    calls = Calls(channel, "streams")
    try:
        done = asyncio.Event()

        async def requests(id: str) -> AsyncIterator[Any]:
            yield init(id)
            await done.wait()

        first = calls.bidi(STREAM, requests("a"))
        assert (await anext(first)).type_url == "google.protobuf.Empty"
        with pytest.raises(AlreadyExists):
            await anext(calls.bidi(STREAM, requests("a")))
        done.set()
        await first.aclose()  # type: ignore[attr-defined]
        again = calls.bidi(STREAM, requests("a"))
        assert (await anext(again)).type_url == "google.protobuf.Empty"
        await again.aclose()  # type: ignore[attr-defined]
        with pytest.raises(InvalidArgument, match="StreamInit"):

            async def wrong() -> AsyncIterator[Any]:
                yield Any(type_url="x")

            await anext(calls.bidi(STREAM, wrong()))
    finally:
        await channel.close()


@pytest.mark.integration
async def test_deleting_the_lease_ends_the_stream(daemon: Daemon) -> None:
    async with Client(daemon.address, "leased") as client:
        lease = await client.leases.create("l")
        calls = Calls(client._calls.channel, "leased", lease.id)

        async def requests() -> AsyncIterator[Any]:
            yield init("s")
            await asyncio.sleep(60)

        stream = calls.bidi(STREAM, requests())
        await anext(stream)
        await client.leases.delete("l", sync=True)
        with pytest.raises(StopAsyncIteration):
            await asyncio.wait_for(anext(stream), 10)
