"""Exec over WebSocket: every sub-protocol, half-closing, and hostile clients."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator

import aiohttp
import pytest
from corten_cri.streaming.server import StreamingServer
from cri.cni_world import until
from cri.stream_world import FakeTarget, exec_, server

V5 = "v5.channel.k8s.io"


@pytest.fixture
def target() -> FakeTarget:
    return FakeTarget()


@pytest.fixture
async def streaming(target: FakeTarget) -> AsyncIterator[StreamingServer]:
    async with server(target) as made:
        yield made


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


# ------------------------------------------------------------------ WebSocket


async def _messages(socket: aiohttp.ClientWebSocketResponse) -> dict[int, bytes]:
    """By channel, until the server closes."""
    found: dict[int, bytes] = {}
    async for message in socket:
        if message.type is aiohttp.WSMsgType.BINARY:
            found[message.data[0]] = found.get(message.data[0], b"") + message.data[1:]
        elif message.type is aiohttp.WSMsgType.TEXT:
            number = int(message.data[0])
            found[number] = found.get(number, b"") + base64.b64decode(message.data[1:])
    assert socket.close_code == 1000
    return found


@pytest.mark.parametrize("protocol", ["v4.channel.k8s.io", V5, "v4.base64.channel.k8s.io"])
async def test_exec_over_websocket(streaming: StreamingServer, http: aiohttp.ClientSession, protocol: str) -> None:
    async with http.ws_connect(streaming.url(exec_("echo", "hello")), protocols=["v9", protocol]) as socket:
        assert socket.protocol == protocol
        found = await _messages(socket)
    assert (found[1], found[2]) == (b"hello", b"err")
    assert json.loads(found[3]) == {"metadata": {}, "status": "Success"}


@pytest.mark.parametrize("protocols", [[], ["channel.k8s.io"], ["base64.channel.k8s.io"]])
async def test_old_sub_protocols_tell_failures_in_words(
    streaming: StreamingServer, http: aiohttp.ClientSession, protocols: list[str]
) -> None:
    async with http.ws_connect(streaming.url(exec_("exit", "4", streams="o")), protocols=protocols) as socket:
        found = await _messages(socket)
    assert found[1] == b"", "an empty message says that all is up"
    assert found[3].startswith(b"command terminated with non-zero exit code")


async def test_version_5_closes_one_channel(
    streaming: StreamingServer, http: aiohttp.ClientSession, target: FakeTarget
) -> None:
    async with http.ws_connect(streaming.url(exec_("cat", streams="io")), protocols=[V5]) as socket:
        await socket.send_bytes(b"\0some ")
        await socket.send_bytes(b"\0input")
        await socket.send_bytes(b"\x09for a channel that is not there")
        await socket.send_bytes(b"\x01for one that is only written to")
        await socket.send_bytes(b"")
        await socket.send_bytes(bytes([255, 0]))
        found = await _messages(socket)
    assert found[1] == b"some input"
    assert json.loads(found[3])["status"] == "Success"
    assert target.log == ["cat saw the end"]


@pytest.mark.parametrize("message", [bytes([255]), bytes([255, 0, 0]), bytes([255, 9])])
async def test_a_malformed_close_ends_the_connection(
    streaming: StreamingServer, http: aiohttp.ClientSession, target: FakeTarget, message: bytes
) -> None:
    async with http.ws_connect(streaming.url(exec_("sleep", streams="io")), protocols=[V5]) as socket:
        await until(lambda: target.running == 1, "the command runs")
        await socket.send_bytes(message)
        async for _ in socket:
            pass
        assert socket.close_code == 1002
    await until(lambda: target.running == 0, "the command lost its client")


async def test_version_4_has_no_close(
    streaming: StreamingServer, http: aiohttp.ClientSession, target: FakeTarget
) -> None:
    async with http.ws_connect(streaming.url(exec_("cat", streams="io")), protocols=["v4.channel.k8s.io"]) as socket:
        await socket.send_bytes(bytes([255, 0]))
        await socket.send_bytes(b"\0x")
        while (message := await socket.receive(20)).data != b"\x01x":
            assert message.type is aiohttp.WSMsgType.BINARY
    await until(lambda: target.running == 0, "the command lost its client")


async def test_sizes_over_websocket_in_base64(
    streaming: StreamingServer, http: aiohttp.ClientSession, target: FakeTarget
) -> None:
    url = streaming.url(exec_("sizes", streams="iot"))
    async with http.ws_connect(url, protocols=["v4.base64.channel.k8s.io"]) as socket:
        for size in ({"Width": 7, "Height": 8}, {"Width": 9, "Height": 10}):
            await socket.send_str("4" + base64.b64encode(json.dumps(size).encode()).decode())
        await until(lambda: target.sizes == [(7, 8), (9, 10)], "both sizes have come")
        await socket.send_str("4!!!")
        async for _ in socket:
            pass
        assert socket.close_code == 1002


async def test_large_messages_and_pings(streaming: StreamingServer, http: aiohttp.ClientSession) -> None:
    data = bytes(range(256)) * 12000
    async with http.ws_connect(
        streaming.url(exec_("cat", streams="io")), protocols=[V5], max_msg_size=0, autoping=False
    ) as socket:
        await socket.ping(b"are you there")
        await socket.send_bytes(b"\0" + data)
        await socket.send_bytes(bytes([255, 0]))
        found, pongs = b"", []
        async for message in socket:
            if message.type is aiohttp.WSMsgType.PONG:
                pongs.append(bytes(message.data))
            elif message.type is aiohttp.WSMsgType.BINARY and message.data[0] == 1:
                found += message.data[1:]
    assert pongs == [b"are you there"]
    assert found == data


@pytest.mark.parametrize("how", ["close", "abort"])
async def test_a_websocket_client_that_goes_away_leaves_nothing(
    streaming: StreamingServer, target: FakeTarget, how: str
) -> None:
    before = len(asyncio.all_tasks())
    async with aiohttp.ClientSession() as http:
        socket = await http.ws_connect(streaming.url(exec_("sleep", streams="iot")), protocols=[V5])
        await until(lambda: target.running == 1, "the command runs")
        if how == "abort":
            transport = socket.get_extra_info("socket")
            transport.shutdown(2)
        else:
            await socket.close()
        await until(lambda: target.log == ["sleep lost its client"], "the command is told")
    await until(lambda: len(asyncio.all_tasks()) == before, "no task is left")


async def test_a_sub_protocol_that_is_not_known_is_refused(
    streaming: StreamingServer, http: aiohttp.ClientSession
) -> None:
    with pytest.raises(aiohttp.WSServerHandshakeError) as raised:
        await http.ws_connect(streaming.url(exec_("echo")), protocols=["v9.channel.k8s.io"])
    assert raised.value.status == 403


async def test_closing_the_server_cuts_everyone_off(target: FakeTarget, http: aiohttp.ClientSession) -> None:
    async with server(target) as streaming:
        socket = await http.ws_connect(streaming.url(exec_("sleep", streams="o")), protocols=[V5])
        await until(lambda: target.running == 1, "the command runs")
    assert target.running == 0
    await socket.close()
