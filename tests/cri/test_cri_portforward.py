"""Port-forward: over SPDY, in a WebSocket tunnel and over plain WebSocket; into network namespaces of pods."""

import asyncio
import os
import struct
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import aiohttp
import pytest
from corten.errors import CortenError, FailedPrecondition
from corten.pools import Pools
from corten.zygote.client import Zygote

if sys.platform == "win32":
    pytest.skip("network namespaces are Linux's", allow_module_level=True)

from corten_cri.streaming.inbox import Inbox
from corten_cri.streaming.server import ForwardAsked, StreamingServer
from corten_cri.streaming.sockets import PodSockets
from cri.cni_world import until
from cri.stream_world import FakeTarget, SpdyClient, answer, server

PROTOCOL = "portforward.k8s.io"


@pytest.fixture
def target() -> FakeTarget:
    return FakeTarget()


@pytest.fixture
async def streaming(target: FakeTarget) -> AsyncIterator[StreamingServer]:
    async with server(target) as made:
        yield made


async def connect(streaming: StreamingServer) -> SpdyClient:
    return await SpdyClient.connect(streaming.url(ForwardAsked("pod", ())), PROTOCOL)


def pair(client: SpdyClient, request: int, port: int = 80) -> tuple[int, int]:
    """Error and data stream, as kubectl opens them."""
    words = {"port": str(port), "requestID": str(request)}
    return client.open({"streamType": "error", **words}, fin=True), client.open({"streamType": "data", **words})


async def test_connections_come_and_go_over_one_spdy_connection(streaming: StreamingServer, target: FakeTarget) -> None:
    client = await connect(streaming)
    pairs = [pair(client, number) for number in range(5)]
    for number, (_, data) in enumerate(pairs):
        client.send(data, f"hello {number}".encode(), fin=True)
    while len(client.ended) < 10:
        assert await client.read_some()
    for number, (error, data) in enumerate(pairs):
        assert client.received[data] == f"HELLO {number} bye".encode()
        assert client.received[error] == b""
    last = pair(client, 99)
    client.send(last[1], b"still there", fin=True)
    while last[1] not in client.ended:
        assert await client.read_some()
    assert client.received[last[1]] == b"STILL THERE bye"
    await client.close()
    await until(lambda: target.running == 0, "nothing is left")


async def test_a_port_where_nobody_listens_is_told_on_the_error_stream(streaming: StreamingServer) -> None:
    client = await connect(streaming)
    error, data = pair(client, 1, port=1)
    while not (error in client.ended and data in client.reset):
        assert await client.read_some()
    assert client.received[error] == b"error forwarding port 1 to pod pod: nobody listens"
    await client.close()


@pytest.mark.parametrize(
    "headers",
    [
        {"streamType": "data"}, {"streamType": "data", "port": "0"}, {"streamType": "data", "port": "65536"},
        {"streamType": "data", "port": "-1"}, {"streamType": "other", "port": "80"}, {"port": "80"},
    ],
)  # fmt: skip
async def test_streams_that_make_no_sense_are_refused(streaming: StreamingServer, headers: dict[str, str]) -> None:
    client = await connect(streaming)
    stream = client.open(headers)
    while stream not in client.reset:
        assert await client.read_some()
    assert client.reset[stream] == 3
    await client.close()


async def test_old_clients_without_request_ids(streaming: StreamingServer) -> None:
    client = await connect(streaming)
    client.open(fin=True, streamType="error", port="80")
    data = client.open(streamType="data", port="80")
    client.send(data, b"old", fin=True)
    while data not in client.ended:
        assert await client.read_some()
    assert client.received[data] == b"OLD bye"
    await client.close()


async def test_a_client_that_goes_away_ends_its_connections(streaming: StreamingServer, target: FakeTarget) -> None:
    before = len(asyncio.all_tasks())
    client = await connect(streaming)
    for number in range(10):
        pair(client, number)
    client.open(streamType="error", port="80", requestID="half")
    await until(lambda: target.running == 10, "ten connections are open")
    client.writer.transport.abort()
    await until(lambda: target.running == 0, "they end with the client")
    await until(lambda: len(asyncio.all_tasks()) == before, "no task is left")


async def test_another_protocol_is_refused(streaming: StreamingServer) -> None:
    status, headers, _ = await answer(streaming.url(ForwardAsked("pod", ())), "v4.channel.k8s.io")
    assert (status, headers["x-accepted-stream-protocol-versions"]) == (403, PROTOCOL)


async def test_a_websocket_may_tunnel_spdy(streaming: StreamingServer) -> None:
    """As kubectl does since 1.31: the bytes of a SPDY connection in binary messages."""
    async with aiohttp.ClientSession() as http:
        url = streaming.url(ForwardAsked("pod", ()))
        async with http.ws_connect(url, protocols=["SPDY/3.1+portforward.k8s.io"]) as socket:
            reader = asyncio.StreamReader()
            client = SpdyClient(reader, _Collecting())  # type: ignore[arg-type]
            _, data = pair(client, 1)
            client.send(data, b"tunnelled", fin=True)
            sent = bytes(client.writer.sent)  # type: ignore[attr-defined]
            for start in range(0, len(sent), 7):
                await socket.send_bytes(sent[start : start + 7])
            while data not in client.ended:
                message = await socket.receive(20)
                assert message.type is aiohttp.WSMsgType.BINARY
                reader.feed_data(message.data)
                await client.read_some()
            assert client.received[data] == b"TUNNELLED bye"


class _Collecting:
    def __init__(self) -> None:
        self.sent = bytearray()

    def write(self, data: bytes) -> None:
        self.sent += data


async def test_plain_websocket_has_a_pair_of_channels_for_each_port(streaming: StreamingServer) -> None:
    async with aiohttp.ClientSession() as http:
        url = streaming.url(ForwardAsked("pod", (8080, 1)))
        async with http.ws_connect(url, protocols=["v4.channel.k8s.io"]) as socket:
            await socket.send_bytes(b"\0over websocket")
            found: dict[int, bytes] = {}
            while found.get(0, b"")[2:] != b"OVER WEBSOCKET" or len(found.get(3, b"")) <= 2:
                message = await socket.receive(20)
                assert message.type is aiohttp.WSMsgType.BINARY
                found[message.data[0]] = found.get(message.data[0], b"") + message.data[1:]
    assert [found[number][:2] for number in range(4)] == [struct.pack("<H", port) for port in (8080, 8080, 1, 1)]
    assert found[3][2:] == b"error forwarding port 1 to pod pod: nobody listens"


# ------------------------------------------------------------------ into a pod


@pytest.fixture(scope="module")
def zygote() -> Iterator[Zygote]:
    zygote = Zygote.launch(["corten_cri.streaming.connecting"])
    assert zygote.preload_failures() == {}
    yield zygote
    zygote.close()


@pytest.fixture
def sockets(zygote: Zygote) -> Iterator[PodSockets]:
    pools = Pools()
    yield PodSockets(zygote, pools)
    pools.close()


@pytest.fixture
def netns(tmp_path: Path) -> Iterator[str]:
    path = tmp_path / "pod"
    path.touch()
    subprocess.run(["unshare", f"--net={path}", "ip", "link", "set", "lo", "up"], check=True, timeout=20)
    yield str(path)
    subprocess.run(["umount", "-l", str(path)], check=True, timeout=20)


class Client:
    """The client's side of a forwarded connection."""

    def __init__(self) -> None:
        self.inbox, self.received, self.closed = Inbox(), b"", False

    async def read(self) -> bytes:
        return await self.inbox.read()

    async def write(self, data: bytes) -> None:
        self.received += data

    async def close(self) -> None:
        self.closed = True


_SERVER = """
import socket, sys
s = socket.socket(socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET)
s.bind((sys.argv[1], 7777)); s.listen(); print("up", flush=True)
while True:
    c, _ = s.accept()
    got = b""
    while d := c.recv(65536): got += d
    c.sendall(b"%d bytes" % len(got)); c.close()
"""


@pytest.fixture(params=["127.0.0.1", "::1"])
def listening(request: pytest.FixtureRequest, netns: str) -> Iterator[str]:
    """A server in the pod, on one family's localhost only."""
    command = ["nsenter", f"--net={netns}", sys.executable, "-c", _SERVER, request.param]
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"up\n"
    yield request.param
    process.kill()
    process.wait()
    process.stdout.close()


@pytest.mark.integration
async def test_a_port_of_a_pod_is_reached_by_either_family(sockets: PodSockets, netns: str, listening: str) -> None:
    for size in (0, 5, 3 << 20):
        client = Client()
        forwarding = asyncio.create_task(sockets.forward("pod", netns, 7777, client))
        for start in range(0, size, 1 << 16):
            await client.inbox.put(os.urandom(min(1 << 16, size - start)))
        client.inbox.end()
        await asyncio.wait_for(forwarding, 20)
        assert client.received == f"{size} bytes".encode(), (
            "its end of input is the pod's, and the answer comes after it"
        )
        assert client.closed


@pytest.mark.integration
async def test_nobody_listening_is_said_for_both_families(sockets: PodSockets, netns: str) -> None:
    with pytest.raises(FailedPrecondition) as raised:
        await sockets.forward("pod", netns, 7777, Client())
    assert raised.value.message == (
        "failed to connect to localhost:7777 inside pod pod (127.0.0.1: Connection refused; ::1: Connection refused)"
    )


@pytest.mark.integration
async def test_a_pod_on_the_hosts_network_is_reached_directly(sockets: PodSockets) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write((await reader.read()).upper())
        writer.close()

    listener = await asyncio.start_server(serve, "127.0.0.1", 0)
    client = Client()
    await client.inbox.put(b"host")
    client.inbox.end()
    await asyncio.wait_for(sockets.forward("pod", "", listener.sockets[0].getsockname()[1], client), 20)
    assert client.received == b"HOST"
    listener.close()


@pytest.mark.integration
async def test_a_pod_whose_namespace_is_gone_is_an_error_and_leaves_no_descriptor(
    sockets: PodSockets, tmp_path: Path, netns: str
) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(CortenError):
        await sockets.forward("pod", netns, 7777, Client())
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        with pytest.raises(FailedPrecondition, match="open the network namespace of pod pod"):
            await sockets.forward("pod", str(tmp_path / "none"), 7777, Client())
        with pytest.raises(CortenError, match="enter the network namespace of pod pod"):
            await sockets.forward("pod", str(tmp_path / "file"), 7777, Client())
        with pytest.raises(CortenError, match="failed to connect"):
            await sockets.forward("pod", netns, 7777, Client())
    assert len(os.listdir("/proc/self/fd")) <= before
