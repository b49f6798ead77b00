"""The HTTP server of the metrics: `GET /v1/metrics`, one answer for each connection."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

import h11
from corten.errors import FailedPrecondition
from corten.wire.address import Address

log = logging.getLogger(__name__)

PATH = "/v1/metrics"
PATIENCE = 10.0
"""Seconds that a client has for its request, and for taking the answer."""
AT_ONCE = 16
"""Connections served side by side; further ones are closed."""

Page = Callable[[str], Awaitable[tuple[bytes, str]]]
"""From the Accept header to the answer and its content type."""


class MetricsEndpoint:
    """`start` and `close` are called on the event loop, once each."""

    def __init__(self, address: Address, page: Page) -> None:
        self._address = address
        self._page = page
        self._server: asyncio.Server | None = None
        self._answering: set[asyncio.Task[None]] = set()

    def __repr__(self) -> str:
        return f"MetricsEndpoint({self._address}, {'serving' if self._server else 'stopped'})"

    async def start(self) -> None:
        """Listen. Raises FailedPrecondition if the port cannot be had."""
        host, _, port = self._address.endpoint.rpartition(":")
        try:
            self._server = await asyncio.start_server(self._connected, host.strip("[]") or None, int(port))
        except (OSError, ValueError, OverflowError) as error:
            raise FailedPrecondition(
                f"metrics address {self._address}: cannot listen: {error} (set another address of the server metrics)"
            ) from error
        log.info("serving metrics on http://%s%s", self._address.endpoint, PATH)

    async def close(self) -> None:
        server, self._server = self._server, None
        if server is not None:
            server.close()
        for task in list(self._answering):
            task.cancel()
        await asyncio.gather(*self._answering, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None, "asyncio calls this in a task"
        try:
            if len(self._answering) < AT_ONCE:
                self._answering.add(task)
                await self._answer(reader, writer)
        except (OSError, TimeoutError, h11.RemoteProtocolError) as error:
            log.debug("metrics: a client was not answered: %s", error)
        finally:
            self._answering.discard(task)
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = h11.Connection(h11.SERVER)
        async with asyncio.timeout(PATIENCE):
            request = await _request(connection, reader)
        if request is None:
            return
        status, body, content_type = await self._reply(request)
        headers = [("content-type", content_type), ("content-length", str(len(body))), ("connection", "close")]
        writer.write(connection.send(h11.Response(status_code=status, headers=headers)) or b"")
        if request.method != b"HEAD":
            writer.write(connection.send(h11.Data(data=body)) or b"")
        async with asyncio.timeout(PATIENCE):
            await writer.drain()

    async def _reply(self, request: h11.Request) -> tuple[int, bytes, str]:
        if request.target.partition(b"?")[0] != PATH.encode():
            return 404, f"there is only {PATH} here\n".encode(), "text/plain; charset=utf-8"
        if request.method not in (b"GET", b"HEAD"):
            return 405, b"metrics are only read (GET)\n", "text/plain; charset=utf-8"
        accept = b",".join(value for name, value in request.headers if name == b"accept").decode("ascii", "replace")
        return 200, *await self._page(accept)


async def _request(connection: h11.Connection, reader: asyncio.StreamReader) -> h11.Request | None:
    """The head of the next request, whose size h11 bounds; None if the client has gone."""
    while True:
        event = connection.next_event()
        if isinstance(event, h11.Request):
            return event
        if event is not h11.NEED_DATA:
            return None
        connection.receive_data(await reader.read(16 << 10))
