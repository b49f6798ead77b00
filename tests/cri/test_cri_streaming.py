"""The streaming server: exec and attach over SPDY, the HTTP before it, TLS, and hostile clients."""

import asyncio
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
from corten_cri.streaming.server import ForwardAsked, StreamingServer
from corten_cri.streaming.spdy import STREAMS_MAX
from corten_cri.streaming.spdy_headers import DICTIONARY
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


def _block(plain: bytes) -> bytes:
    compressor = zlib.compressobj(zdict=DICTIONARY)
    return compressor.compress(plain) + compressor.flush(zlib.Z_SYNC_FLUSH)


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


async def test_cve_2022_23471_the_resize_stream_of_a_failed_exec_leaves_no_task(streaming: StreamingServer) -> None:
    """In containerd a goroutine for resizing outlived each exec that failed."""
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


async def test_cve_2026_35469_frames_that_claim_much_take_no_memory(
    streaming: StreamingServer, target: FakeTarget
) -> None:
    """In spdystream counts and lengths of SETTINGS and header blocks were believed before the bytes were there."""
    bomb = zlib.compressobj(zdict=DICTIONARY)
    block = bomb.compress(bytes(64 << 20)) + bomb.flush(zlib.Z_SYNC_FLUSH)
    hostile = (
        bytes.fromhex("80030004 00000004 ffffffff"),  # SETTINGS: four billion of them
        frames.syn_stream(1, _block(b"\xff\xff\xff\xff")),
        frames.syn_stream(1, _block(b"\0\0\0\1\x7f\xff\xff\xff")),
        frames.syn_stream(1, block),
        bytes.fromhex("80030001 00ffffff"),
    )
    for sent in hostile:
        client = await SpdyClient.connect(streaming.url(exec_("echo", "x", streams="o")))
        client.writer.write(sent)
        client.control(7, 0, 0)
        while await client.read_some():
            pass
        assert not client.replied
        await client.close()
    assert target.running == 0


async def test_streams_of_one_connection_are_bounded(streaming: StreamingServer, target: FakeTarget) -> None:
    client = await SpdyClient.connect(streaming.url(ForwardAsked("pod", ())), "portforward.k8s.io")
    opened = [client.open(streamType="error", port="80", requestID=str(number)) for number in range(STREAMS_MAX + 5)]
    while len(client.replied) + len(client.reset) < len(opened):
        assert await client.read_some()
    assert client.reset == dict.fromkeys(opened[-5:], frames.REFUSED_STREAM)
    await client.close()


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
