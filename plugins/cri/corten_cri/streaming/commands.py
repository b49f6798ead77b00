"""Exec and attach with a client: its streams are joined to the target, and the end is told on the error stream."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection
from contextlib import suppress
from typing import Any

from corten.errors import InvalidArgument
from corten.values import dataclass

from . import http, status, websocket
from .channels import ChannelSocket
from .model import CommandStreams, Sink
from .serving import while_connected
from .sizes import read_sizes
from .spdy import SpdyConnection, SpdyStream
from .tcp import TcpTransport

log = logging.getLogger(__name__)

CREATION_DEADLINE = 30.0
"""Seconds that a client may take to open its streams."""
SPDY = "spdy/3.1"
SPDY_PROTOCOLS = ("v4.channel.k8s.io", "v3.channel.k8s.io", "v2.channel.k8s.io", "channel.k8s.io")
STRUCTURED = ("v4.channel.k8s.io", "v4.base64.channel.k8s.io", "v5.channel.k8s.io")
"""Versions in which the error stream carries a Status as JSON."""
WEBSOCKET_PROTOCOLS = ("v5.channel.k8s.io", "v4.channel.k8s.io", "v4.base64.channel.k8s.io", "channel.k8s.io",
                       "base64.channel.k8s.io", "")  # fmt: skip
_STDIN, _STDOUT, _STDERR, _ERROR, _RESIZE = range(5)


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which streams the request has."""

    stdin: bool
    stdout: bool
    stderr: bool
    terminal: bool

    def types(self, *, sizes: bool) -> set[str]:
        """The streams that a SPDY client opens, by the words of its header streamType."""
        flags = {"stdin": self.stdin, "stdout": self.stdout, "stderr": self.stderr, "error": True}
        return {name for name, has in flags.items() if has} | ({"resize"} if self.terminal and sizes else set())


Run = Callable[[CommandStreams], Awaitable[dict[str, Any]]]
"""Does the work with the streams; returns the status for the error stream."""


async def serve(transport: TcpTransport, head: http.Head, wanted: Wanted, run: Run) -> None:
    """Answer the request and stream. Raises Refusal before anything was answered, ConnectionError."""
    if head.upgrades_to("websocket"):
        await _serve_websocket(transport, head, wanted, run)
    else:
        await _serve_spdy(transport, head, wanted, run)


def spdy_answer(head: http.Head, known: Collection[str]) -> tuple[str, bytes]:
    """The protocol on top of SPDY, the first of the client's that is known, and the answer. Raises Refusal."""
    if not head.upgrades_to(SPDY):
        raise http.Refusal(400, "unable to upgrade: ask for an upgrade to SPDY/3.1 or websocket")
    offered = head.values(http.PROTOCOL_HEADER)
    if not offered:
        raise http.Refusal(400, "unable to upgrade: the header X-Stream-Protocol-Version is missing")
    chosen = next((each for each in offered if each in known), None)
    if chosen is None:
        accepted = [("X-Accepted-Stream-Protocol-Versions", each) for each in known]
        words = f"client supports {', '.join(offered)}, server accepts {', '.join(known)}"
        raise http.Refusal(403, f"unable to upgrade: unable to negotiate protocol: {words}", accepted)
    return chosen, http.switching([("Upgrade", "SPDY/3.1"), ("X-Stream-Protocol-Version", chosen)])


async def _serve_spdy(transport: TcpTransport, head: http.Head, wanted: Wanted, run: Run) -> None:
    protocol, answer = spdy_answer(head, SPDY_PROTOCOLS)
    opening = _Opening(wanted.types(sizes=protocol in SPDY_PROTOCOLS[:2]))
    connection = SpdyConnection(transport, opening.accept)
    await transport.send(answer)

    async def work() -> None:
        found = await opening.complete()
        streams = CommandStreams(
            found.get("stdin"), found.get("stdout"), found.get("stderr"), wanted.terminal,
            read_sizes(found["resize"]) if "resize" in found else None,
        )  # fmt: skip
        await _run(run, streams, found["error"], structured=protocol in STRUCTURED)
        await connection.close()

    await while_connected(transport, connection.run(head.rest), work())


async def _serve_websocket(transport: TcpTransport, head: http.Head, wanted: Wanted, run: Run) -> None:
    protocol, answer = websocket.negotiate(head, WEBSOCKET_PROTOCOLS)
    await transport.send(answer)
    readable = ([_STDIN] if wanted.stdin else []) + ([_RESIZE] if wanted.terminal else [])
    socket = websocket.WebSocket(transport, head.rest)
    channels = ChannelSocket(socket, 5, readable, text="base64" in protocol, half_close=protocol == "v5.channel.k8s.io")
    stdin, stdout, stderr, error, sizes = channels.channels
    streams = CommandStreams(
        stdin if wanted.stdin else None, stdout if wanted.stdout else None, stderr if wanted.stderr else None,
        wanted.terminal, read_sizes(sizes) if wanted.terminal else None,
    )  # fmt: skip

    async def work() -> None:
        # An empty message on the lowest channel that is written to tells the client that all is up.
        await (stdout if wanted.stdout else stderr if wanted.stderr else error).write(b"")
        await _run(run, streams, error, structured=protocol in STRUCTURED)
        await channels.close()

    await while_connected(transport, channels.run(), work())


async def _run(run: Run, streams: CommandStreams, error: Sink, *, structured: bool) -> None:
    text = status.encode(await run(streams), structured=structured)
    with suppress(ConnectionError):
        if text:
            await error.write(text)
        for sink in (streams.stdout, streams.stderr, error):
            if sink is not None:
                await sink.close()


class _Opening:
    """The streams that a client is to open, as they come."""

    def __init__(self, wanted: set[str]) -> None:
        self._wanted = wanted
        self._found: dict[str, SpdyStream] = {}
        self._complete = asyncio.Event()

    def accept(self, stream: SpdyStream) -> None:
        kind = stream.headers.get("streamtype", "")
        if kind not in self._wanted or kind in self._found:
            raise InvalidArgument(f"stream of type {kind!r}: not wanted here, or there already")
        self._found[kind] = stream
        if len(self._found) == len(self._wanted):
            self._complete.set()

    async def complete(self) -> dict[str, SpdyStream]:
        """Raises ConnectionError if the client does not open them in time."""
        try:
            async with asyncio.timeout(CREATION_DEADLINE):
                await self._complete.wait()
        except TimeoutError:
            missing = ", ".join(sorted(self._wanted - set(self._found)))
            log.warning("a client did not open its streams within %g s: %s", CREATION_DEADLINE, missing)
            raise ConnectionAbortedError(f"no stream {missing}") from None
        return self._found
