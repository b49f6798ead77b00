"""The streaming server: frames against bytes by hand, exec and attach over SPDY and WebSocket, and hostile clients."""

import asyncio
import base64
import json
import ssl
import subprocess
import zlib
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
import pytest
from corten.errors import CortenError, InvalidArgument, ResourceExhausted, Unavailable
from corten_cri.config.server import KeyPair, ServerConfig
from corten_cri.streaming import spdy_frames as frames
from corten_cri.streaming.inbox import Inbox
from corten_cri.streaming.server import StreamingServer
from corten_cri.streaming.spdy_headers import BLOCK_MAX, DICTIONARY, HeaderDecoder, HeaderEncoder
from corten_cri.streaming.tokens import PENDING_MAX, Tokens
from cri.cni_world import until
from cri.stream_world import FakeTarget, SpdyClient, answer, attach, exec_, run_spdy, server

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


# ------------------------------------------------------------------ frames and headers, byte by byte


def test_frames_are_the_bytes_of_the_draft() -> None:
    assert frames.data(1, b"hi", fin=True) == bytes.fromhex("00000001 01000002 6869")
    assert frames.data(0x7FFFFFFF, b"") == bytes.fromhex("7fffffff 00000000")
    assert frames.syn_stream(3, b"AB") == bytes.fromhex("80030001 0000000c 00000003 00000000 0000 4142")
    assert frames.syn_reply(3, b"AB", fin=True) == bytes.fromhex("80030002 01000006 00000003 4142")
    assert frames.rst_stream(5, frames.CANCEL) == bytes.fromhex("80030003 00000008 00000005 00000005")
    assert frames.ping(7) == bytes.fromhex("80030006 00000004 00000007")
    assert frames.goaway(9) == bytes.fromhex("80030007 00000008 00000009 00000000")


def test_frames_are_read_however_they_are_cut() -> None:
    sent = bytes.fromhex("80030006 00000004 00000007") + frames.data(1, b"hello") + frames.data(3, b"", fin=True)
    wanted = [frames.Control(6, 0, b"\0\0\0\7"), frames.Data(1, b"hello"), frames.Data(3, b"", True)]
    for size in range(1, len(sent) + 1):
        reader = frames.FrameReader()
        pieces = [sent[start : start + size] for start in range(0, len(sent), size)]
        assert [frame for piece in pieces for frame in reader.feed(piece)] == wanted


def test_a_very_long_data_frame_comes_in_pieces() -> None:
    reader, content = frames.FrameReader(), bytes(5 << 20)
    found = list(reader.feed(frames.data(1, content, fin=True)[:-1]))
    found += reader.feed(b"\0")
    assert all(isinstance(frame, frames.Data) for frame in found)
    assert b"".join(frame.data for frame in found if isinstance(frame, frames.Data)) == content
    assert [frame.fin for frame in found if isinstance(frame, frames.Data)] == [False] * (len(found) - 1) + [True]
    assert len(found) > 1


@pytest.mark.parametrize(
    ("sent", "words"),
    [
        (bytes.fromhex("80020001 00000000"), "version 2"),
        (bytes.fromhex("80030001 00ffffff"), "control frame of 16777215 bytes"),
        (b"GET / HTTP/1.1\r\n\r\n" * 2, ""),
    ],
)
def test_what_is_no_spdy_is_refused(sent: bytes, words: str) -> None:
    reader = frames.FrameReader()
    if words:
        with pytest.raises(InvalidArgument, match=words):
            list(reader.feed(sent))
    else:
        assert list(reader.feed(sent)) == [], "read as a data frame of 1.2 MiB that never ends"


def test_the_dictionary_is_that_of_the_draft() -> None:
    assert len(DICTIONARY) == 1423
    assert zlib.adler32(DICTIONARY) == 0xE3C6A7C2
    assert DICTIONARY[:11] == b"\0\0\0\7options"


def test_header_blocks_share_one_compression_state() -> None:
    encoder, decoder = HeaderEncoder(), HeaderDecoder()
    first, second = encoder.encode({"streamType": "stdin"}), encoder.encode({"streamType": "stdin", "Port": "80"})
    assert first[:6] == bytes.fromhex("78bb") + bytes.fromhex("e3c6a7c2"), "zlib with the dictionary's checksum"
    assert decoder.decode(first) == {"streamtype": "stdin"}
    assert decoder.decode(second) == {"streamtype": "stdin", "port": "80"}
    with pytest.raises(InvalidArgument):
        HeaderDecoder().decode(second)


def _block(plain: bytes) -> bytes:
    compressor = zlib.compressobj(zdict=DICTIONARY)
    return compressor.compress(plain) + compressor.flush(zlib.Z_SYNC_FLUSH)


@pytest.mark.parametrize(
    "block",
    [
        b"", b"\0\0\0\1", b"nonsense", _block(b"\0\0\0\1"), _block(b"\0\0\0\1\xff\xff\xff\xffx"), _block(b"\xff" * 8),
        _block(bytes(BLOCK_MAX + 1)), _block(b"\0\0\0\1\0\0\0\1\xff\0\0\0\0"),
    ],
)  # fmt: skip
def test_header_blocks_that_lie_are_refused(block: bytes) -> None:
    with pytest.raises(InvalidArgument, match="SPDY: header block"):
        HeaderDecoder().decode(block)


# ------------------------------------------------------------------ SPDY


async def test_exec_over_spdy(streaming: StreamingServer) -> None:
    found = await run_spdy(streaming.url(exec_("echo", "hello")), "stdout", "stderr")
    assert (found["stdout"], found["stderr"]) == (b"hello", b"err")
    assert json.loads(found["error"]) == {"metadata": {}, "status": "Success"}


async def test_an_exit_status_reaches_the_client(streaming: StreamingServer) -> None:
    found = await run_spdy(streaming.url(exec_("exit", "3", streams="o")), "stdout")
    status = json.loads(found["error"])
    assert (status["status"], status["reason"]) == ("Failure", "NonZeroExitCode")
    assert status["details"] == {"causes": [{"reason": "ExitCode", "message": "3"}]}
    assert status["message"].startswith("command terminated with non-zero exit code")


async def test_what_fails_is_told_with_its_reason(streaming: StreamingServer) -> None:
    status = json.loads((await run_spdy(streaming.url(exec_("fail", streams="o")), "stdout"))["error"])
    assert (status["status"], status["reason"], status["code"]) == ("Failure", "InternalError", 500)
    assert status["message"] == "Internal error occurred: error executing command in container: no such thing"
    status = json.loads((await run_spdy(streaming.url(attach("gone", "o")), "stdout"))["error"])
    assert status["message"] == "Internal error occurred: error attaching to container: container gone"


async def test_before_version_4_failures_are_told_in_words(streaming: StreamingServer) -> None:
    for protocol in ("channel.k8s.io", "v2.channel.k8s.io", "v3.channel.k8s.io"):
        found = await run_spdy(streaming.url(exec_("exit", "3", streams="o")), "stdout", protocol=protocol)
        assert found["error"].startswith(b"command terminated with non-zero exit code")
        found = await run_spdy(streaming.url(exec_("exit", "0", streams="o")), "stdout", protocol=protocol)
        assert found["error"] == b""


async def test_input_and_its_end_reach_the_command(streaming: StreamingServer, target: FakeTarget) -> None:
    data = bytes(range(256)) * 8192
    found = await run_spdy(streaming.url(exec_("cat", streams="io")), "stdin", "stdout", input=data)
    assert found["stdout"] == data
    assert target.log == ["cat saw the end"]


async def test_sizes_of_the_terminal_reach_the_command(streaming: StreamingServer, target: FakeTarget) -> None:
    client = await SpdyClient.connect(streaming.url(exec_("sizes", streams="iot")))
    error, _, _, resize = (client.open(streamType=type) for type in ("error", "stdin", "stdout", "resize"))
    client.send(resize, b'{"Width":80,"Height":24}{"Width":0,"Height":9}\n{"Width"')
    client.send(resize, b':100,"Height":50}{"width":1,"height":2}{"Width":"x"}[]', fin=True)
    await client.read_to_end()
    await client.close()
    assert target.sizes == [(80, 24), (100, 50), (1, 2)]
    assert client.status(error)["status"] == "Success"


async def test_pings_are_answered_and_the_rest_ignored(streaming: StreamingServer) -> None:
    client = await SpdyClient.connect(streaming.url(exec_("cat", streams="io")))
    client.control(4, 0)  # SETTINGS
    client.control(9, 1, 65536)  # WINDOW_UPDATE
    client.control(6, 1)
    client.control(6, 4)  # an answer to a ping that nobody sent
    client.control(6, 3)
    _, stdin, stdout = (client.open(streamType=type) for type in ("error", "stdin", "stdout"))
    client.send(stdin, b"over 64 KiB " * 30000, fin=True)
    await client.read_to_end()
    assert client.pongs == [1, 3]
    assert client.received[stdout] == b"over 64 KiB " * 30000, "no window holds it up"
    await client.close()


async def test_streams_that_are_not_wanted_are_refused(streaming: StreamingServer) -> None:
    client = await SpdyClient.connect(streaming.url(exec_("echo", "x", streams="o")))
    stderr = client.open(streamType="stderr")
    client.open(streamType="error")
    twice = client.open(streamType="error")
    client.open(streamType="stdout")
    await client.read_to_end()
    assert client.reset == {stderr: frames.REFUSED_STREAM, twice: frames.REFUSED_STREAM}
    await client.close()


async def test_numbers_that_go_back_are_an_error_of_that_stream(streaming: StreamingServer) -> None:
    client = await SpdyClient.connect(streaming.url(exec_("cat", streams="io")))
    client.open(streamType="error")
    client._next = 2
    even = client.open(streamType="stdin")
    client._next = 1
    again = client.open(streamType="stdin")
    while len(client.reset) < 2:
        assert await client.read_some()
    assert client.reset == {even: frames.PROTOCOL_ERROR, again: frames.PROTOCOL_ERROR}
    await client.close()


@pytest.mark.parametrize("how", ["abort", "close", "goaway", "nonsense"])
async def test_a_client_that_goes_away_leaves_nothing(streaming: StreamingServer, target: FakeTarget, how: str) -> None:
    before = len(asyncio.all_tasks())
    client = await SpdyClient.connect(streaming.url(exec_("sleep", streams="iot")))
    for type in ("error", "stdin", "stdout", "resize"):
        client.open(streamType=type)
    await until(lambda: target.running == 1, "the command runs")
    match how:
        case "abort":
            client.writer.transport.abort()
        case "close":
            client.writer.close()
        case "goaway":
            client.control(7, 0, 0)
        case "nonsense":
            client.writer.write(bytes.fromhex("80090001 00000000"))
    await until(lambda: target.log == ["sleep lost its client"], "the command is told")
    client.writer.close()
    await until(lambda: len(asyncio.all_tasks()) == before, "no task is left")


async def test_a_resize_stream_of_a_failed_exec_leaves_no_task(streaming: StreamingServer) -> None:
    """CVE-2022-23471: a goroutine for resizing outlived each exec that failed."""
    before = len(asyncio.all_tasks())
    for _ in range(20):
        client = await SpdyClient.connect(streaming.url(exec_("fail", streams="iot")))
        ids = [client.open(streamType=type) for type in ("error", "stdin", "stdout", "resize")]
        client.send(ids[3], b'{"Width":80,"Height":24}')
        await client.read_to_end()
        await client.close()
    await until(lambda: len(asyncio.all_tasks()) == before, "no task is left")


async def test_a_client_that_does_not_read_holds_up_only_itself(streaming: StreamingServer, target: FakeTarget) -> None:
    slow = await SpdyClient.connect(streaming.url(exec_("flood", "4000", streams="o")))
    for type in ("error", "stdout"):
        slow.open(streamType=type)
    await until(lambda: target.running == 1, "the flood has begun")
    found = await run_spdy(streaming.url(exec_("echo", "quick", streams="o")), "stdout")
    assert found["stdout"] == b"quick"
    assert target.running == 1, "256 MiB are not buffered"
    slow.writer.transport.abort()
    await until(lambda: target.running == 0, "the flood ends with its client")


async def test_a_full_inbox_holds_up_its_filler() -> None:
    inbox = Inbox(capacity=10)
    await inbox.put(b"x" * 10)
    filler = asyncio.create_task(inbox.put(b"more"))
    await asyncio.sleep(0)
    assert not filler.done()
    assert await inbox.read() == b"x" * 10
    await asyncio.wait_for(filler, 5)
    await inbox.put(b"z" * 10)
    stuck = asyncio.create_task(inbox.put(b"dropped"))
    await asyncio.sleep(0)
    inbox.discard()
    await asyncio.wait_for(stuck, 5)
    assert await inbox.read() == b""


# ------------------------------------------------------------------ the HTTP before


@pytest.mark.parametrize(
    ("protocol", "to", "status", "words"),
    [
        (None, "SPDY/3.1", 400, "X-Stream-Protocol-Version is missing"),
        ("v9.channel.k8s.io", "SPDY/3.1", 403, "client supports v9.channel.k8s.io, server accepts v4.channel.k8s.io"),
        ("v4.channel.k8s.io", "h2c", 400, "ask for an upgrade to SPDY/3.1 or websocket"),
        ("v4.channel.k8s.io", "websocket", 400, "not a WebSocket handshake"),
    ],
)
async def test_requests_that_cannot_be_served_say_why(
    streaming: StreamingServer, protocol: str | None, to: str, status: int, words: str
) -> None:
    found, headers, body = await answer(streaming.url(exec_("echo")), protocol, to=to)
    assert found == status
    assert words in body
    if status == 403:
        assert headers["x-accepted-stream-protocol-versions"]


async def test_a_url_is_good_once(streaming: StreamingServer) -> None:
    url = streaming.url(exec_("echo", "x", streams="o"))
    await run_spdy(url, "stdout")
    assert (await answer(url))[0] == 404
    for path in ("/", "/exec", "/exec/", "/exec/nonsense", "/attach/../exec/x", "/exec/a/b", "//", "/%2e"):
        parts = urlsplit(url)
        assert (await answer(f"{parts.scheme}://{parts.netloc}{path}"))[0] == 404, path
    other = streaming.url(exec_("echo", "x", streams="o")).replace("/exec/", "/attach/")
    assert (await answer(other))[0] == 404


async def test_old_urls_are_good_no_more() -> None:
    tokens: Tokens[str] = Tokens(lifetime=0.05)
    token = tokens.issue("request")
    assert len(token) >= 32
    await asyncio.sleep(0.1)
    assert tokens.redeem(token) is None


async def test_urls_that_nobody_comes_for_are_bounded() -> None:
    tokens: Tokens[int] = Tokens(lifetime=600)
    issued = {tokens.issue(number) for number in range(PENDING_MAX)}
    assert len(issued) == PENDING_MAX
    with pytest.raises(ResourceExhausted, match="wait for their clients already"):
        tokens.issue(0)


async def test_other_methods_and_no_http_at_all(streaming: StreamingServer) -> None:
    assert (await answer(streaming.url(exec_("echo")), method="DELETE"))[0] == 405
    parts = urlsplit(streaming.url(exec_("echo")))
    for sent in (b"\x16\x03\x01\x02\x00\x01\x00\x01", b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 20000, b"\r\n\r\n\r\n!"):
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
        writer.write(sent)
        writer.write_eof()
        told = await asyncio.wait_for(reader.read(), 20)
        assert not told or told.startswith(b"HTTP/1.1 400 "), told
        writer.close()
        await writer.wait_closed()


async def test_requests_that_contradict_themselves_are_refused(streaming: StreamingServer) -> None:
    with pytest.raises(InvalidArgument, match="tty and stderr cannot both be true"):
        streaming.url(exec_("x", streams="oet"))
    with pytest.raises(InvalidArgument, match="one of stdin, stdout, or stderr must be set"):
        streaming.url(attach(streams=""))


async def test_an_idle_stream_is_cut_off(target: FakeTarget) -> None:
    async with server(target, stream_idle_timeout=0.3) as streaming:
        client = await SpdyClient.connect(streaming.url(exec_("sleep", streams="o")))
        for type in ("error", "stdout"):
            client.open(streamType=type)
        await until(lambda: target.log == ["sleep lost its client"], "the idle client is cut off")
        await client.close()


async def test_an_address_that_is_taken_is_named(target: FakeTarget) -> None:
    async with server(target) as first:
        port = str(urlsplit(first.url(exec_("echo"))).port)
        with pytest.raises(Unavailable, match=rf"cannot listen on 127\.0\.0\.1 port {port}: .*stream_server_port"):
            await StreamingServer(ServerConfig(stream_server_port=port), target).start()
    with pytest.raises(InvalidArgument, match="expected a number"):
        await StreamingServer(ServerConfig(stream_server_port="http"), target).start()


# ------------------------------------------------------------------ TLS


async def _over_tls(streaming: StreamingServer, context: ssl.SSLContext) -> None:
    url = streaming.url(exec_("echo", "secret", streams="o"))
    assert url.startswith("https://")
    client = await SpdyClient.connect(url, tls=context)
    _, stdout = (client.open(streamType=type) for type in ("error", "stdout"))
    await client.read_to_end()
    assert client.received[stdout] == b"secret"
    await client.close()


async def test_tls_with_a_certificate_made_at_the_start(target: FakeTarget) -> None:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    async with server(target, enable_tls_streaming=True) as streaming:
        await _over_tls(streaming, context)


async def test_tls_with_a_key_pair(target: FakeTarget, tmp_path: Path) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    make: list[str | Path] = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-keyout",
        key,
        "-out",
        certificate,
        "-days",
        "1",
    ]
    extra = ["-subj", "/CN=streaming", "-addext", "subjectAltName=IP:127.0.0.1"]
    await asyncio.to_thread(lambda: subprocess.run([*make, *extra], check=True, capture_output=True, timeout=60))
    pair = KeyPair(str(certificate), str(key))
    async with server(target, enable_tls_streaming=True, x509_key_pair_streaming=pair) as streaming:
        await _over_tls(streaming, ssl.create_default_context(cafile=certificate))
    with pytest.raises(InvalidArgument, match="belong together"):
        lone = KeyPair(str(certificate), "")
        await StreamingServer(ServerConfig(enable_tls_streaming=True, x509_key_pair_streaming=lone), target).start()
    with pytest.raises(InvalidArgument, match="enable_tls_streaming is not"):
        await StreamingServer(ServerConfig(x509_key_pair_streaming=pair), target).start()
    missing = KeyPair(str(tmp_path / "none"), str(key))
    with pytest.raises(CortenError, match="load the key pair"):
        await StreamingServer(ServerConfig(enable_tls_streaming=True, x509_key_pair_streaming=missing), target).start()


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
