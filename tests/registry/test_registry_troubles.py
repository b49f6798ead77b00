"""What is told when a registry cannot be reached: what to look at, and nothing of the library's own."""

import asyncio
import ssl
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from corten import references
from corten.errors import CortenError, Unavailable, Unknown
from corten.registry.client import RegistryClient
from corten.registry.retry import Retry


@asynccontextmanager
async def server(context: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    async def nothing(request: web.Request) -> web.Response:
        return web.Response(status=404)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", nothing)
    running = TestServer(app)
    await running.start_server(ssl=context)
    assert running.port
    try:
        yield running.port
    finally:
        await running.close()


LONG = Retry(2, 3600, 3600)
"""What is tried again with this does not come to an end."""


async def told(
    root: Path, server: str, more: str = "", error: type[CortenError] = Unavailable, retry: Retry = LONG
) -> str:
    (root / "r.example").mkdir(exist_ok=True)
    (root / "r.example" / "hosts.toml").write_text(f'server = "{server}"\n{more}')
    async with RegistryClient(host_roots=[root], retry=retry) as client:
        with pytest.raises(error) as raised:
            await asyncio.wait_for(client.resolve(references.parse("r.example/x:y")), 30)
    message = raised.value.message
    assert message.startswith("image r.example/x:y: ")
    assert "object at" not in message
    return message.partition("cannot reach registry ")[2] or message


def signed(folder: Path, days: int, name: str = "IP:127.0.0.1") -> ssl.SSLContext:
    (folder / "names").write_text(f"subjectAltName={name}\n")
    for argv in (
        "req -newkey rsa:2048 -nodes -subj /CN=x -keyout key -out csr",
        f"x509 -req -in csr -signkey key -days {days} -extfile names -out cert",
    ):
        subprocess.run(["openssl", *argv.split()], cwd=folder, check=True, capture_output=True)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(folder / "cert", folder / "key")
    return context


async def test_nobody_listens(tmp_path: Path) -> None:
    assert await told(tmp_path, "http://127.0.0.1:1", retry=Retry(1)) == "127.0.0.1:1: Connection refused"


async def test_a_name_that_nobody_has(tmp_path: Path) -> None:
    said = await told(tmp_path, "https://nobody.invalid")
    assert said.startswith("nobody.invalid: no host has that name: ")
    assert said.endswith("(check the image's name, and DNS)")


async def test_http_where_tls_is_wanted(tmp_path: Path) -> None:
    async with server() as port:
        assert "it does not speak TLS (for plain http" in await told(tmp_path, f"https://127.0.0.1:{port}")


async def test_certificates(tmp_path: Path) -> None:
    own = f'ca = "{tmp_path}/cert"'
    async with server(signed(tmp_path, 2)) as port:
        said = await told(tmp_path, f"https://127.0.0.1:{port}")
        assert "its certificate is not valid: self-signed certificate (name its authority with `ca`" in said
        said = await told(tmp_path, f"https://localhost:{port}", own)
        assert "Hostname mismatch, certificate is not valid for 'localhost'" in said
    async with server(signed(tmp_path, -1)) as port:
        said = await told(tmp_path, f"https://127.0.0.1:{port}", own)
        assert said.endswith("its certificate is not valid: certificate has expired (or the clock is wrong)")


async def test_the_words_of_a_server_that_is_no_registry(tmp_path: Path) -> None:
    """Go's servers say so in plain text when http comes where TLS is spoken."""

    async def https_only(request: web.Request) -> web.Response:
        return web.Response(status=400, text="Client sent an HTTP request to an HTTPS server.\n")

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", https_only)
    running = TestServer(app)
    await running.start_server()
    try:
        said = await told(tmp_path, f"http://127.0.0.1:{running.port}", error=Unknown)
    finally:
        await running.close()
    assert said.endswith("status 400 (Client sent an HTTP request to an HTTPS server.)")
