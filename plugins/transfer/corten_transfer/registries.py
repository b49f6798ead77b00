"""Clients of registries as a transfer asks for them, with the plugin's settings for what it leaves open."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from corten import references
from corten.contracts.transfer import AskLogin, ByteWriter, Login, RegistryImage
from corten.errors import CortenError, InvalidArgument
from corten.registry.authority import Ask
from corten.registry.client import RegistryClient
from corten.registry.credentials import Credentials
from corten.registry.hosts import is_loopback
from corten.registry.ranges import Ranges

from .parts import Parts
from .reporting import Report

CONNECTIONS = max(2, min(4, os.cpu_count() or 2))
"""Ranges of one large layer that are fetched at once."""
MAX_LINES = 1024
"""Lines of a dump that may wait for the client; more are dropped."""


@asynccontextmanager
async def client_for(parts: Parts, side: RegistryImage, report: Report) -> AsyncIterator[RegistryClient]:
    """Closed at the end, when whoever asked for a dump of the requests has it all."""
    if side.scheme not in ("", "http", "https"):
        raise InvalidArgument(f"transfer: there is no scheme {side.scheme[:80]!r} for registries (http or https)")
    roots = [Path(root) for root in (side.host_dir or parts.config.config_path).split(":") if root]
    dump = Dump(side.dump) if side.dump else None
    client = RegistryClient(
        plain_http={"": None, "http": True, "https": False}[side.scheme],
        host_roots=roots,
        headers=side.headers,
        ask=_asking(side.ask) if side.ask else None,
        ranges=_ranges(parts, references.parse(side.reference)),
        stall_timeout=parts.config.stall_timeout,
        warn=report.warning,
        trace=dump.line if dump else None,
    )
    try:
        async with client:
            yield client
    finally:
        if dump:
            await dump.close()


class Dump:
    """Lines for the client, which the work never waits for."""

    def __init__(self, out: ByteWriter) -> None:
        self._out = out
        self._lines: asyncio.Queue[bytes | None] = asyncio.Queue(MAX_LINES)
        self._sending = asyncio.ensure_future(self._send())

    def line(self, text: str) -> None:
        with suppress(asyncio.QueueFull):
            self._lines.put_nowait(f"{text}\n".encode())

    async def close(self) -> None:
        if self._lines.full():
            self._lines.get_nowait()
        self._lines.put_nowait(None)
        await asyncio.wait([self._sending], timeout=5)
        self._sending.cancel()
        await self._out.close()

    async def _send(self) -> None:
        with suppress(CortenError):
            while (line := await self._lines.get()) is not None:
                await self._out.write(line)


async def login_at(registry: RegistryClient, reference: references.Reference) -> Login | None:
    """The credentials by which the image is pulled, for verifiers."""
    found = await registry.credentials(reference)
    return Login(found.username, found.identity_token or found.password, found.header) if found else None


def _ranges(parts: Parts, reference: references.Reference) -> Ranges:
    """None for a registry on this machine: its bytes come as fast as they can be written anyway."""
    size = 0 if is_loopback(reference.host) else parts.config.concurrent_layer_fetch_buffer
    return Ranges(size, CONNECTIONS)


def _asking(ask: AskLogin) -> Ask:
    async def asked(host: str, reference: str, challenges: object) -> Credentials | None:
        login: Login | None = await ask(host, reference, list(challenges) if isinstance(challenges, list) else [])
        if login is None:
            return None
        if login.header:
            return Credentials(header=login.header)
        if not login.username:
            return Credentials(identity_token=login.secret) if login.secret else None
        return Credentials(login.username, login.secret)

    return asked
