"""Clients and a target for the streaming server: SPDY by hand over a socket, and what commands do there."""

import asyncio
import json
import ssl
import struct
import zlib
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from corten.errors import FailedPrecondition, NotFound
from corten_cri.config.server import ServerConfig
from corten_cri.streaming import spdy_frames as frames
from corten_cri.streaming.commands import Wanted
from corten_cri.streaming.model import CommandStreams, Duplex
from corten_cri.streaming.server import AttachAsked, ExecAsked, StreamingServer
from corten_cri.streaming.spdy_headers import DICTIONARY

V4 = "v4.channel.k8s.io"


@dataclass
class FakeTarget:
    """Commands by their first word; what became of them is written down."""

    log: list[str] = field(default_factory=list)
    sizes: list[tuple[int, int]] = field(default_factory=list)
    running: int = 0

    async def exec(self, container: str, command: Sequence[str], streams: CommandStreams) -> int:
        self.running += 1
        try:
            return await self._exec(container, command, streams)
        except asyncio.CancelledError:
            self.log.append(f"{command[0]} lost its client")
            raise
        finally:
            self.running -= 1

    async def attach(self, container: str, streams: CommandStreams) -> None:
        if container == "gone":
            raise NotFound("container gone")
        await self.exec(container, ["cat"], streams)

    async def forward(self, pod: str, port: int, stream: Duplex) -> None:
        if port == 1:
            raise FailedPrecondition("nobody listens")
        self.running += 1
        try:
            while data := await stream.read():
                await stream.write(data.upper())
            await stream.write(b" bye")
        finally:
            self.running -= 1

    async def _exec(self, container: str, command: Sequence[str], streams: CommandStreams) -> int:
        match command[0]:
            case "echo":
                await _say(streams.stdout, " ".join(command[1:]).encode())
                await _say(streams.stderr, b"err")
            case "cat":
                while streams.stdin and (data := await streams.stdin.read()):
                    await _say(streams.stdout, data)
                self.log.append("cat saw the end")
            case "exit":
                return int(command[1])
            case "fail":
                raise FailedPrecondition("no such thing")
            case "sizes":
                async for size in streams.sizes or _nothing():
                    self.sizes.append((size.width, size.height))
            case "flood":
                for _ in range(int(command[1])):
                    await _say(streams.stdout, b"x" * 65536)
            case "sleep":
                await asyncio.sleep(600)
        return 0


async def _nothing() -> AsyncIterator[Any]:
    return
    yield


async def _say(sink: Any, data: bytes) -> None:
    if sink is not None:
        await sink.write(data)


def want(letters: str) -> Wanted:
    """`ioet`: standard input, output, error, terminal."""
    return Wanted("i" in letters, "o" in letters, "e" in letters, "t" in letters)


def exec_(*command: str, streams: str = "oe") -> ExecAsked:
    return ExecAsked("c1", command, want(streams))


def attach(container: str = "c1", streams: str = "io") -> AttachAsked:
    return AttachAsked(container, want(streams))


@asynccontextmanager
async def server(target: FakeTarget, **config: Any) -> AsyncIterator[StreamingServer]:
    made = StreamingServer(ServerConfig(**config), target)
    await made.start()
    try:
        yield made
    finally:
        await made.close()


class SpdyClient:
    """The client's side of SPDY/3.1, written against the draft; frames are made here, by hand."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self._compressor = zlib.compressobj(zdict=DICTIONARY)
        self._frames = frames.FrameReader()
        self._next = 1
        self.received: dict[int, bytes] = {}
        self.ended: set[int] = set()
        self.reset: dict[int, int] = {}
        self.replied: list[int] = []
        self.pongs: list[int] = []
        self.gone_away = False

    @classmethod
    async def connect(
        cls, url: str, protocol: str = V4, tls: ssl.SSLContext | None = None, method: str = "POST"
    ) -> "SpdyClient":
        status, headers, reader, writer = await upgrade(url, protocol, tls, method)
        assert status == 101, (status, headers)
        assert headers["upgrade"] == "SPDY/3.1"
        assert headers["x-stream-protocol-version"] == protocol
        return cls(reader, writer)

    def open(self, given: Mapping[str, str] | None = None, *, fin: bool = False, **named: str) -> int:
        """A new stream; its number."""
        headers = {**(given or {}), **named}
        id, self._next = self._next, self._next + 2
        plain = struct.pack(">I", len(headers))
        for name, value in headers.items():
            for word in (name.lower(), value):
                plain += struct.pack(">I", len(word)) + word.encode()
        block = self._compressor.compress(plain) + self._compressor.flush(zlib.Z_SYNC_FLUSH)
        body = struct.pack(">IIH", id, 0, 0) + block
        self.writer.write(struct.pack(">HHI", 0x8003, 1, (1 << 24 if fin else 0) | len(body)) + body)
        return id

    def send(self, stream: int, data: bytes, fin: bool = False) -> None:
        self.writer.write(struct.pack(">II", stream, (1 << 24 if fin else 0) | len(data)) + data)

    def control(self, type: int, *words: int) -> None:
        self.writer.write(struct.pack(">HHI", 0x8003, type, 4 * len(words)) + struct.pack(f">{len(words)}I", *words))

    async def read_some(self) -> bool:
        """Take in what comes next; False at the end."""
        arrived = await asyncio.wait_for(self.reader.read(65536), 20)
        for frame in self._frames.feed(arrived):
            self._take(frame)
        return bool(arrived)

    async def read_to_end(self) -> None:
        """Until the server has said goodbye."""
        while not self.gone_away and await self.read_some():
            pass

    async def close(self) -> None:
        self.writer.close()
        with suppress(OSError):
            await self.writer.wait_closed()

    def status(self, stream: int) -> Any:
        return json.loads(self.received[stream])

    def _take(self, frame: frames.Frame) -> None:
        if isinstance(frame, frames.Data):
            self.received[frame.stream] = self.received.get(frame.stream, b"") + frame.data
            if frame.fin:
                self.ended.add(frame.stream)
            return
        words = struct.unpack(f">{len(frame.payload) // 4}I", frame.payload[: len(frame.payload) // 4 * 4])
        match frame.type:
            case 2:
                self.replied.append(words[0])
            case 3:
                self.reset[words[0]] = words[1]
            case 6:
                self.pongs.append(words[0])
            case 7:
                self.gone_away = True


async def upgrade(
    url: str, protocol: str | None = V4, tls: ssl.SSLContext | None = None, method: str = "POST", to: str = "SPDY/3.1"
) -> tuple[int, dict[str, str], asyncio.StreamReader, asyncio.StreamWriter]:
    """Ask for an upgrade; status and headers of the answer, and the connection."""
    parts = urlsplit(url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port, ssl=tls)
    lines = [f"{method} {parts.path} HTTP/1.1", f"Host: {parts.netloc}", "Connection: Upgrade", f"Upgrade: {to}"]
    if protocol is not None:
        lines.append(f"X-Stream-Protocol-Version: {protocol}")
    writer.write("\r\n".join([*lines, "Content-Length: 0", "", ""]).encode())
    head = (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 20)).decode().split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:] if line)}
    return int(head[0].split()[1]), headers, reader, writer


async def answer(
    url: str, protocol: str | None = V4, *, method: str = "POST", to: str = "SPDY/3.1"
) -> tuple[int, dict[str, str], str]:
    """Status, headers and body of the answer to a request that is refused."""
    status, headers, reader, writer = await upgrade(url, protocol, None, method, to)
    body = await asyncio.wait_for(reader.read(), 20)
    writer.close()
    await writer.wait_closed()
    return status, headers, body.decode()


async def run_spdy(url: str, *types: str, input: bytes | None = None, protocol: str = V4) -> dict[str, bytes]:
    """Open streams of these types beside the error stream, send the input, and read all to the end."""
    client = await SpdyClient.connect(url, protocol)
    ids = {type: client.open(streamType=type) for type in ("error", *types)}
    if input is not None:
        client.send(ids["stdin"], input, fin=True)
    await client.read_to_end()
    await client.close()
    assert set(client.replied) == set(ids.values())
    return {type: client.received.get(id, b"") for type, id in ids.items()}
