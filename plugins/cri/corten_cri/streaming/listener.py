"""The listening socket of the streaming server: its address, TLS, and one task for each connection."""

import asyncio
import logging
import socket
import ssl
from collections.abc import Awaitable, Callable
from contextlib import suppress

from corten.errors import CortenError, InvalidArgument, Unavailable, mapped

from ..config.server import ServerConfig
from . import certificate, http
from .tcp import TcpTransport

log = logging.getLogger(__name__)

CONNECTIONS_MAX = 1024
"""Clients at once; one more is cut off."""

Serve = Callable[[TcpTransport, http.Head], Awaitable[None]]


class Listener:
    """Accepts clients from `start` to `close`. `serve` raises Refusal for those that get an answer of HTTP only."""

    def __init__(self, config: ServerConfig, serve: Serve) -> None:
        self._config, self._serve = config, serve
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.url = ""
        """Where it listens, without a slash at the end; empty until it does."""

    def __repr__(self) -> str:
        return f"Listener({self.url or 'closed'}, {len(self._tasks)} connections)"

    async def start(self) -> None:
        """Raises Unavailable if the address is taken, InvalidArgument for settings that cannot be used."""
        address = self._config.stream_server_address or own_address()
        port, context = _port(self._config.stream_server_port), self._tls(address)
        try:
            self._server = await asyncio.start_server(self._accepted, address, port, ssl=context, backlog=128)
        except OSError as error:
            raise Unavailable(
                f"streaming server: cannot listen on {address} port {port}: {error.strerror or error} "
                "(stream_server_address and stream_server_port say where)"
            ) from error
        bound = self._server.sockets[0].getsockname()
        host = f"[{bound[0]}]" if ":" in bound[0] else bound[0]
        self.url = f"{'https' if context else 'http'}://{host}:{bound[1]}"

    async def close(self) -> None:
        """Accept no more, and cut off who is there."""
        if self._server is not None:
            self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self.url = ""

    def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        transport = TcpTransport(reader, writer, self._config.stream_idle_timeout)
        if len(self._tasks) >= CONNECTIONS_MAX:
            log.warning("streaming server: a client is cut off: %d are there already", CONNECTIONS_MAX)
            transport.abort()
            return
        task = asyncio.create_task(self._serve_one(transport), name="cri stream")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve_one(self, transport: TcpTransport) -> None:
        try:
            head = await http.read_head(transport)
            await self._serve(transport, head)
        except http.Refusal as refusal:
            await _refuse(transport, refusal)
        except CortenError as error:
            await _refuse(transport, http.Refusal(400, error.message))
        except ConnectionError:
            pass
        except Exception:
            log.exception("streaming server: serving a client failed")
        finally:
            transport.abort()

    def _tls(self, address: str) -> ssl.SSLContext | None:
        pair = self._config.x509_key_pair_streaming
        if bool(pair.tls_cert_file) != bool(pair.tls_key_file):
            raise InvalidArgument("x509_key_pair_streaming: tls_cert_file and tls_key_file belong together; set both")
        if not self._config.enable_tls_streaming:
            if pair.tls_cert_file:
                raise InvalidArgument("x509_key_pair_streaming is set, but enable_tls_streaming is not: set both")
            return None
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if not pair.tls_cert_file:
            certificate.load_self_signed(context, [address, socket.gethostname()])
            return context
        with mapped(f"load the key pair {pair.tls_cert_file}, {pair.tls_key_file} of the streaming server"):
            context.load_cert_chain(pair.tls_cert_file, pair.tls_key_file)
        return context


def own_address() -> str:
    """The address of the host that other hosts see, or the loopback address if there is none."""
    for family, elsewhere in ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1")):
        with suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((elsewhere, 9))  # sends nothing: it asks for the route
            return str(probe.getsockname()[0])
    return "127.0.0.1"


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) < 65536):
        raise InvalidArgument(f"stream_server_port {text!r}: expected a number up to 65535, 0 for a free port")
    return int(text)


async def _refuse(transport: TcpTransport, refusal: http.Refusal) -> None:
    with suppress(ConnectionError):
        await transport.send(refusal.answer())
        await transport.finish()
