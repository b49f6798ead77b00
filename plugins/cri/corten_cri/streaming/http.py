"""The beginning of each connection: one HTTP/1.1 request that asks for an upgrade, and the answer to it."""

import asyncio
from collections.abc import Sequence

import h11
from corten.errors import DeadlineExceeded, InvalidArgument
from corten.values import dataclass

from .model import Transport

HEAD_MAX = 32 << 10
"""Bytes of a request before the upgrade."""
HEAD_DEADLINE = 30.0
"""Seconds that a client may take to send them."""
PROTOCOL_HEADER = "x-stream-protocol-version"
_REASONS = {
    400: "Bad Request", 403: "Forbidden", 404: "Not Found", 405: "Method Not Allowed", 500: "Internal Server Error",
    503: "Service Unavailable",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Head:
    """A request; `rest` are bytes that came after it. Names of headers are in lower case."""

    method: str
    path: str
    headers: tuple[tuple[str, str], ...]
    rest: bytes = b""

    def values(self, name: str) -> list[str]:
        """All values of a header, also those with commas between them."""
        found = [value for key, value in self.headers if key == name]
        return [word for value in found for word in (part.strip() for part in value.split(",")) if word]

    def upgrades_to(self, protocol: str) -> bool:
        asks = any("upgrade" in value.lower() for value in self.values("connection"))
        return asks and protocol in (value.lower() for value in self.values("upgrade"))


class Refusal(Exception):
    """A request that is answered with a status other than 101; `text` is for the person at the other end."""

    def __init__(self, status: int, text: str, headers: Sequence[tuple[str, str]] = ()) -> None:
        super().__init__(text)
        self.status, self.text, self.headers = status, text, tuple(headers)

    def answer(self) -> bytes:
        body = f"{self.text}\n".encode()
        told = (
            ("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", str(len(body))), ("Connection", "close"),
            *self.headers,
        )  # fmt: skip
        return _lines(f"HTTP/1.1 {self.status} {_REASONS.get(self.status, 'Error')}", told) + body


def switching(headers: Sequence[tuple[str, str]]) -> bytes:
    """The answer that the connection changes its protocol now."""
    return _lines("HTTP/1.1 101 Switching Protocols", (("Connection", "Upgrade"), *headers))


async def read_head(transport: Transport) -> Head:
    """The request. Raises InvalidArgument for what is none, DeadlineExceeded, ConnectionError if the client left."""
    try:
        async with asyncio.timeout(HEAD_DEADLINE):
            return await _read_head(transport)
    except TimeoutError:
        raise DeadlineExceeded(f"no request within {HEAD_DEADLINE:g} s") from None
    except h11.RemoteProtocolError as error:
        raise InvalidArgument(f"not an HTTP request: {error}") from None


async def _read_head(transport: Transport) -> Head:
    parser = h11.Connection(h11.SERVER, max_incomplete_event_size=HEAD_MAX)
    request: h11.Request | None = None
    size = 0
    while True:
        event = parser.next_event()
        if event is h11.NEED_DATA:
            arrived = await transport.read()
            size += len(arrived)
            if not arrived:
                raise ConnectionResetError("the client left before it had asked for anything")
            if size > 2 * HEAD_MAX:
                raise InvalidArgument("the body of the request is too long: none is wanted")
            parser.receive_data(arrived)
        elif isinstance(event, h11.Request):
            request = event
        elif event is h11.PAUSED or isinstance(event, h11.EndOfMessage | h11.ConnectionClosed):
            break
    if request is None:
        raise InvalidArgument("not an HTTP request")
    headers = tuple((name.decode("latin-1"), value.decode("latin-1")) for name, value in request.headers)
    return Head(request.method.decode(), request.target.decode("latin-1"), headers, parser.trailing_data[0])


def _lines(first: str, headers: Sequence[tuple[str, str]]) -> bytes:
    return "\r\n".join((first, *(f"{name}: {value}" for name, value in headers), "", "")).encode("latin-1")
