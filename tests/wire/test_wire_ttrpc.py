"""ttrpc over a real socket: calls, streams, errors, cancellation, bounds, and peers that send anything at all."""

import asyncio
import logging
import os
import random
import socket
import stat
import tempfile
import threading
from contextlib import suppress
from pathlib import Path

import pytest
from corten.api.ttrpc.request_pb2 import KeyValue, Request, Response
from corten.errors import (
    BY_CODE,
    CortenError,
    DeadlineExceeded,
    FailedPrecondition,
    ResourceExhausted,
    Unavailable,
    Unimplemented,
    Unknown,
)
from corten.supervisor import Supervisor
from corten.wire.limits import TtrpcLimits
from corten.wire.ttrpc.client import TtrpcClient
from corten.wire.ttrpc.frames import (
    DATA,
    HEADER,
    MAX_DATA,
    NO_DATA,
    REMOTE_CLOSED,
    REMOTE_OPEN,
    REQUEST,
    RESPONSE,
    Decoder,
    Frame,
    encode,
)
from google.protobuf.wrappers_pb2 import StringValue
from hypothesis import given, settings
from hypothesis import strategies as st
from wire.support import SERVICE, Echo, text, ttrpc_pair, ttrpc_server, until


@pytest.fixture
def sock(tmp_path: Path) -> Path:
    return tmp_path / "c.sock.ttrpc"


async def say(client: TtrpcClient, what: str, method: str = "Say", **options: object) -> str:
    reply = await client.call(SERVICE, method, text(what), StringValue, **options)  # type: ignore[arg-type]
    return reply.value


def request(method: str, what: str = "x", timeout: int = 0) -> bytes:
    payload = text(what).SerializeToString()
    return Request(service=SERVICE, method=method, payload=payload, timeout_nano=timeout).SerializeToString()


class Raw:
    """A peer that sends bytes of its own making."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer, self._decoder = reader, writer, Decoder()
        self._frames: list[Frame] = []

    @classmethod
    async def connect(cls, sock: Path) -> "Raw":
        return cls(*await asyncio.open_unix_connection(str(sock)))

    async def send(self, *frames: bytes) -> None:
        self.writer.write(b"".join(frames))
        await self.writer.drain()

    async def frame(self) -> Frame:
        async with asyncio.timeout(5):
            while not self._frames:
                received = await self.reader.read(65536)
                assert received, "the server hung up"
                self._frames += [event for event in self._decoder.feed(received) if isinstance(event, Frame)]
        return self._frames.pop(0)

    async def response(self) -> tuple[int, Response]:
        frame = await self.frame()
        assert frame.kind == RESPONSE
        return frame.stream, Response.FromString(frame.data)

    async def close(self) -> None:
        self.writer.close()
        await asyncio.gather(self.writer.wait_closed(), return_exceptions=True)


async def test_many_calls_at_once_on_one_connection(sock: Path) -> None:
    echo = Echo()
    async with ttrpc_pair(sock, echo) as client:
        slow = asyncio.ensure_future(say(client, "slow", "Wait"))
        quick = await asyncio.gather(*(say(client, f"call {number}") for number in range(200)))
        assert quick == [f"call {number}" for number in range(200)]
        assert not slow.done()
        echo.go.set()
        assert await slow == "slow"


async def test_server_stream(sock: Path) -> None:
    async with ttrpc_pair(sock, Echo()) as client:
        replies = client.stream(SERVICE, "Count", text("3"), StringValue)
        assert [reply.value async for reply in replies] == ["0", "1", "2"]


async def test_streams_of_requests(sock: Path) -> None:
    async with ttrpc_server(sock, Echo()):
        raw = await Raw.connect(sock)
        opened = Request(service=SERVICE, method="Join").SerializeToString()
        part = [text(letter).SerializeToString() for letter in "abc"]
        await raw.send(encode(1, REQUEST, opened, REMOTE_OPEN), encode(1, DATA, part[0]), encode(1, DATA, part[1]))
        await raw.send(encode(1, DATA, b"", REMOTE_CLOSED | NO_DATA))
        stream, response = await raw.response()
        assert (stream, StringValue.FromString(response.payload).value) == (1, "ab")
        opened = Request(service=SERVICE, method="Chat").SerializeToString()
        await raw.send(encode(3, REQUEST, opened, REMOTE_OPEN), encode(3, DATA, part[2]))
        assert await raw.frame() == Frame(3, DATA, 0, text("C").SerializeToString())
        await raw.send(encode(3, DATA, b"", REMOTE_CLOSED | NO_DATA))
        assert await raw.frame() == Frame(3, DATA, REMOTE_CLOSED | NO_DATA, b"")
        await raw.close()


@pytest.mark.parametrize("code", sorted(BY_CODE))
async def test_every_error_keeps_its_class_and_text(sock: Path, code: int) -> None:
    async with ttrpc_pair(sock, Echo()) as client:
        with pytest.raises(BY_CODE[code]) as caught:
            await say(client, f"raise:{code}")
        assert type(caught.value) is BY_CODE[code]
        assert caught.value.message == f"told to fail with {code}"


@pytest.mark.parametrize("what", ["boom", "exit", "none", "self-cancel"])
async def test_bug_in_a_service_ends_one_call_only(sock: Path, what: str) -> None:
    async with ttrpc_pair(sock, Echo()) as client:
        with pytest.raises((Unknown, Unavailable)):
            await say(client, what, timeout=5)
        assert await say(client, "still here") == "still here"


async def test_unknown_service_and_method_are_unimplemented(sock: Path) -> None:
    async with ttrpc_pair(sock, Echo()) as client:
        with pytest.raises(Unimplemented, match=r"unknown service a\.b"):
            await client.call("a.b", "C", text(""), StringValue)
        with pytest.raises(Unimplemented, match="unknown method Absent"):
            await say(client, "x", "Absent")


async def test_namespace_comes_from_the_ttrpc_header(sock: Path) -> None:
    async with ttrpc_pair(sock, Echo()) as client:
        for name in ("containerd-namespace-ttrpc", "Containerd-Namespace-TTRPC", "containerd-namespace"):
            assert await say(client, "scope", metadata={name: "moby"}) == "moby/"
        twice = {"containerd-namespace-ttrpc": "inner", "Containerd-Namespace-TTRPC": "outer"}
        assert await say(client, "scope", metadata=twice) == "inner/"
        with pytest.raises(FailedPrecondition, match="namespace"):
            await say(client, "scope")


async def test_call_context_knows_its_peer_and_deadline(sock: Path) -> None:
    echo = Echo()
    async with ttrpc_pair(sock, echo) as client:
        await say(client, "x", timeout=30)
        assert echo.calls[0].peer == f"unix:pid={os.getpid()},uid={os.getuid()}"
        assert echo.calls[0].deadline
        assert echo.calls[0].method == f"{SERVICE}/Say"


async def test_deadline_is_kept_by_client_and_server(sock: Path) -> None:
    echo = Echo()
    async with ttrpc_pair(sock, echo) as client:
        with pytest.raises(DeadlineExceeded, match="no answer in"):
            await say(client, "x", "Wait", timeout=0.1)
        await echo.until("cancelled")
        assert await say(client, "late answers disturb nothing") == "late answers disturb nothing"
    async with ttrpc_server(sock, echo):
        echo.go.clear()
        raw = await Raw.connect(sock)
        await raw.send(encode(1, REQUEST, request("Wait", timeout=50_000_000)))
        _, response = await raw.response()
        assert response.status.code == DeadlineExceeded.code
        await raw.close()


async def test_connection_loss_ends_calls_by_the_rules(sock: Path) -> None:
    echo, supervisor = Echo(), Supervisor()
    async with ttrpc_server(sock, echo, supervisor=supervisor):
        raw = await Raw.connect(sock)
        await raw.send(encode(1, REQUEST, request("Wait")), encode(3, REQUEST, request("Work")))
        await raw.send(encode(5, REQUEST, request("Count", "0"), REMOTE_CLOSED))
        await echo.until("begun")
        await echo.until("waiting")
        await raw.close()
        await echo.until("cancelled")
        await echo.until("closed")
        assert supervisor.running["operations"] == [f"{SERVICE}/Work"]
        echo.go.set()
        await echo.until("done")
        assert "gone=True" in echo.log


async def test_client_is_told_at_once_when_the_server_goes(sock: Path) -> None:
    reasons: list[CortenError | None] = []
    echo = Echo()
    async with ttrpc_server(sock, echo, limits=TtrpcLimits(stop_grace=0.1)) as server:
        client = await TtrpcClient.connect(str(sock), on_close=reasons.append)
        calls = [asyncio.ensure_future(say(client, "x", method)) for method in ("Wait", "Work", "Work")]
        await echo.until("begun")
        await server.close()
        results = await asyncio.wait_for(asyncio.gather(*calls, return_exceptions=True), 5)
        assert [type(result) for result in results] == [Unavailable] * 3
        assert client.closed
        assert len(reasons) == 1
        with pytest.raises(Unavailable):
            await say(client, "x")
        await client.close()


async def test_connecting_to_nothing_says_where(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match=r"nobody\.sock: cannot connect: No such file"):
        await TtrpcClient.connect(str(tmp_path / "nobody.sock"))


async def test_idle_calls_cost_no_thread(sock: Path) -> None:
    echo = Echo()
    async with ttrpc_pair(sock, echo) as client:
        await say(client, "x")
        before = threading.active_count()
        waits = [asyncio.ensure_future(say(client, "x", "Wait")) for _ in range(1000)]
        await until(lambda: echo.waiting == 1000)
        assert threading.active_count() <= before
        echo.go.set()
        await asyncio.gather(*waits)


async def test_calls_and_connections_over_the_bounds_are_refused(sock: Path) -> None:
    echo = Echo()
    limits = TtrpcLimits(max_connections=2, max_concurrent_calls=2, stop_grace=0.2)
    async with ttrpc_server(sock, echo, limits=limits):
        client = await TtrpcClient.connect(str(sock))
        waits = [asyncio.ensure_future(say(client, "x", "Wait")) for _ in range(2)]
        await until(lambda: echo.waiting == 2)
        with pytest.raises(ResourceExhausted, match="2 calls are under way"):
            await say(client, "x")
        second = await TtrpcClient.connect(str(sock))
        assert await say(second, "x") == "x"
        third = await TtrpcClient.connect(str(sock))
        with pytest.raises(Unavailable):
            await say(third, "x", timeout=5)
        echo.go.set()
        await asyncio.gather(*waits)
        for used in (client, second, third):
            await used.close()


async def test_message_over_4_mib_is_refused_and_the_connection_lives(sock: Path) -> None:
    async with ttrpc_pair(sock, Echo()) as client:
        assert len(await say(client, f"size:{MAX_DATA - 100}")) == MAX_DATA - 100
        with pytest.raises(ResourceExhausted, match="more than the 4194304"):
            await say(client, "x" * MAX_DATA)
        with pytest.raises(ResourceExhausted, match="more than the 4194304"):
            await say(client, f"size:{MAX_DATA}")
        assert await say(client, "x") == "x"


async def test_oversized_frame_from_a_peer_is_answered_and_skipped(sock: Path) -> None:
    async with ttrpc_server(sock, Echo()):
        raw = await Raw.connect(sock)
        await raw.send(HEADER.pack(MAX_DATA + 1, 1, REQUEST, 0), bytes(MAX_DATA + 1))
        stream, response = await raw.response()
        assert (stream, response.status.code) == (1, ResourceExhausted.code)
        await raw.send(encode(3, REQUEST, request("Say", "hello")))
        assert StringValue.FromString((await raw.response())[1].payload).value == "hello"
        await raw.close()


@pytest.mark.parametrize(
    "frames",
    [
        [encode(2, REQUEST, request("Say"))],
        [encode(1, REQUEST, b"\xff\xff\xff")],
        [encode(7, DATA, b"x")],
        [encode(1, REQUEST, request("Chat", ""), REMOTE_OPEN), encode(1, DATA, b"\xff\xff")],
    ],
    ids=["even id", "no request", "data without a call", "no message"],
)
async def test_wrong_frame_is_answered_and_the_connection_lives(sock: Path, frames: list[bytes]) -> None:
    async with ttrpc_server(sock, Echo()):
        raw = await Raw.connect(sock)
        await raw.send(*frames)
        _, response = await raw.response()
        assert response.status.code == 3
        await raw.send(encode(9, REQUEST, request("Say", "hello")))
        assert StringValue.FromString((await raw.response())[1].payload).value == "hello"
        await raw.close()


async def test_stream_ids_only_grow(sock: Path) -> None:
    async with ttrpc_server(sock, Echo()):
        raw = await Raw.connect(sock)
        await raw.send(encode(5, REQUEST, request("Say")), encode(3, REQUEST, request("Say")))
        codes = {stream: response.status.code for stream, response in [await raw.response(), await raw.response()]}
        assert codes == {5: 0, 3: 3}
        await raw.close()


async def test_service_that_takes_nothing_gets_a_bounded_queue(sock: Path) -> None:
    async with ttrpc_server(sock, Echo()):
        raw = await Raw.connect(sock)
        opened = Request(service=SERVICE, method="Store").SerializeToString()
        parts = [encode(1, DATA, text("x").SerializeToString())] * 100
        await raw.send(encode(1, REQUEST, opened, REMOTE_OPEN), *parts)
        _, response = await raw.response()
        assert response.status.code == ResourceExhausted.code
        await raw.close()


async def test_peer_that_does_not_read_is_ended_at_the_bound(sock: Path) -> None:
    echo = Echo()
    limits = TtrpcLimits(stall=0.3, stop_grace=0.2)
    async with ttrpc_server(sock, echo, limits=limits):
        raw = await Raw.connect(sock)
        await raw.send(encode(1, REQUEST, request("Count", "100000:10000"), REMOTE_CLOSED))
        await echo.until("closed", timeout=10)
        other = await TtrpcClient.connect(str(sock))
        assert await say(other, "x") == "x"
        await other.close()
        await raw.close()


async def test_mode_of_the_socket(sock: Path) -> None:
    async with ttrpc_server(sock, Echo()):
        assert stat.S_IMODE(sock.stat().st_mode) == 0o660
    assert not sock.exists()


async def test_mutating_call_outlives_its_deadline(sock: Path) -> None:
    echo, supervisor = Echo(), Supervisor()
    async with ttrpc_pair(sock, echo, supervisor=supervisor) as client:
        with pytest.raises(DeadlineExceeded):
            await say(client, "x", "Work", timeout=1)
        await asyncio.sleep(0.1)
        assert supervisor.running["operations"] == [f"{SERVICE}/Work"]
        echo.go.set()
        await echo.until("done")
        assert "gone=True" in echo.log


async def test_storm_of_leaving_clients_leaves_nothing(sock: Path, caplog: pytest.LogCaptureFixture) -> None:
    echo, supervisor, dice = Echo(), Supervisor(), random.Random(7)
    async with ttrpc_server(sock, echo, supervisor=supervisor):
        for _ in range(10):
            client = await TtrpcClient.connect(str(sock))
            methods = ("Wait", "Work", "Say", "Absent")
            calls = [
                asyncio.ensure_future(say(client, "x", methods[number % 4], timeout=dice.random() * 0.05 + 0.001))
                for number in range(40)
            ]
            await asyncio.sleep(dice.random() * 0.05)
            await client.close()
            await asyncio.gather(*calls, return_exceptions=True)
        await until(lambda: echo.waiting == 0)
        echo.go.set()
        await until(lambda: not supervisor.running["operations"])
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


FRAMES = st.builds(
    lambda stream, kind, data, flags: HEADER.pack(len(data), stream, kind, flags) + data,
    st.integers(0, 12),
    st.integers(0, 5),
    st.one_of(
        st.binary(max_size=50),
        st.sampled_from([request(method, "2") for method in ("Say", "Wait", "Count", "Join", "Chat", "Absent")]),
        st.just(text("x").SerializeToString()),
        st.builds(
            lambda key, value: Request(
                service=SERVICE, method="Say", metadata=[KeyValue(key=key, value=value)]
            ).SerializeToString(),
            st.text(max_size=5),
            st.text(max_size=5),
        ),
    ),
    st.integers(0, 7),
)


@settings(max_examples=60, deadline=None)
@given(
    parts=st.lists(st.one_of(FRAMES, st.binary(max_size=40)), max_size=12),
    cut=st.integers(1, 60),
    half=st.integers(0, 9),
)
def test_no_peer_can_bring_the_server_down(parts: list[bytes], cut: int, half: int) -> None:
    async def attack(folder: str) -> None:
        sock = Path(folder, "s")
        async with ttrpc_server(sock, Echo(), limits=TtrpcLimits(stop_grace=0.1)):
            data = b"".join(parts) + encode(99, REQUEST, request("Say"))[:half]
            loop = asyncio.get_running_loop()
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as raw:
                await loop.sock_connect(raw, str(sock))
                with suppress(ConnectionError):
                    for start in range(0, len(data), cut):
                        await loop.sock_sendall(raw, data[start : start + cut])
                        await asyncio.sleep(0)
            client = await TtrpcClient.connect(str(sock))
            assert await say(client, "alive", timeout=5) == "alive"
            await client.close()

    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(attack(folder))


@settings(max_examples=60, deadline=None)
@given(garbage=st.binary(min_size=1, max_size=200))
def test_no_server_can_bring_the_client_down(garbage: bytes) -> None:
    async def attack(folder: str) -> None:
        path = f"{folder}/s"

        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read(10)
            writer.write(garbage)
            writer.close()

        async with await asyncio.start_unix_server(answer, path):
            client = await TtrpcClient.connect(path)
            with pytest.raises(CortenError):
                await say(client, "x", timeout=5)
            await client.close()

    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(attack(folder))
