"""A registry for tests that lies where it is told to, and answers honestly else; independent of docker-registry."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from corten import digests, references
from corten.errors import CortenError
from corten.oci_image.build import File, Image, build, layer
from corten.platforms import Platform
from corten.registry.client import RegistryClient
from corten.registry.credentials import Credentials
from corten.registry.pull import pull
from corten.registry.retry import Retry
from corten.registry.sink import StoreSink
from corten.testing.content import MemoryContent

AMD64 = Platform("linux", "amd64")
BIG = bytes(range(256)) * 12000
IMAGE = build("x", [layer([File("big", BIG)], compressed=False)], AMD64, {"Cmd": ["true"]})
LAYER = next(digest for digest, data in IMAGE.blobs.items() if len(data) > len(BIG))
Handler = Callable[[web.Request], Awaitable[web.StreamResponse | None]]


async def honest(request: web.Request) -> None:
    """Leave everything to the honest part."""


@asynccontextmanager
async def serving(
    first: Handler = honest, image: Image = IMAGE, headers: Sequence[tuple[str, str]] = ()
) -> AsyncIterator[tuple[str, list[web.Request]]]:
    """A registry that asks `first` before it answers honestly; its address, and the requests that came.

    `headers` go with every honest answer.
    """
    requests: list[web.Request] = []

    async def answer(request: web.Request) -> web.StreamResponse:
        requests.append(request)
        if (said := await first(request)) is not None:
            return said
        response = _honest(request, image)
        for name, value in headers:
            response.headers.add(name, value)
        return response

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    server = TestServer(app)
    await server.start_server()
    try:
        yield f"127.0.0.1:{server.port}", requests
    finally:
        await server.close()


def _honest(request: web.Request, image: Image) -> web.Response:
    kind, name = request.path.split("/")[-2:]
    digest = image.target.digest if name == "tag" else name
    if digest not in image.blobs:
        return web.json_response({"errors": [{"code": "UNKNOWN", "message": "no such thing"}]}, status=404)
    data = image.blobs[digest]
    headers = {"Docker-Content-Digest": digest}
    if kind == "manifests":
        headers["Content-Type"] = image.target.media_type
    given = request.headers.get("Range", "")
    if given:
        start = int(given.removeprefix("bytes=").removesuffix("-"))
        headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
        return web.Response(body=data[start:], headers=headers, status=206)
    return web.Response(body=data, headers=headers)


async def fetched(address: str, store: MemoryContent, **options: object) -> None:
    async with RegistryClient(retry=Retry(3, 0.01, 0.02), **options) as client:  # type: ignore[arg-type]
        await pull(client, references.parse(f"{address}/x:tag"), StoreSink(store), AMD64)


async def refused(first: Handler, error: type[CortenError], says: str, image: Image = IMAGE) -> MemoryContent:
    """The pull must fail like that, and leave no wrong blob."""
    store = MemoryContent()
    async with serving(first, image) as (address, _):
        with pytest.raises(error, match=says):
            await fetched(address, store)
    assert all(digests.of(store.data(info.digest)) == info.digest for info in store.walk())
    return store


def ann(_: str) -> Credentials:
    return Credentials("ann", "secret")


def is_layer(request: web.Request) -> bool:
    return request.path.endswith(LAYER)


def is_manifest(request: web.Request, method: str = "GET") -> bool:
    return "/manifests/" in request.path and request.method == method
