"""Large blobs in several ranges at once: in order, bounded, resumed, and given up where a registry knows no ranges."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from corten import digests, references
from corten.contracts.descriptor import Descriptor
from corten.errors import DataLoss, Unavailable
from corten.registry.client import RegistryClient
from corten.registry.copying import copy_blob
from corten.registry.progress import ignore
from corten.registry.ranges import Ranges, in_order
from corten.registry.retry import Retry
from corten.registry.sink import StoreSink
from corten.testing.content import MemoryContent
from hypothesis import given
from hypothesis import strategies as st

DATA = bytes(range(256)) * 4000
BLOB = Descriptor("application/vnd.oci.image.layer.v1.tar", digests.of(DATA), len(DATA))
SMALL = Ranges(size=100_000, ahead=3, threshold=200_000)


@given(st.integers(0, 50), st.integers(0, 50), st.integers(1, 20), st.integers(1, 5))
def test_every_byte_once_and_in_order(start: int, more: int, size: int, ahead: int) -> None:
    most = 0

    async def run() -> list[bytes]:
        nonlocal most
        under_way = 0

        async def fetch(first: int, last: int) -> bytes:
            nonlocal under_way, most
            under_way += 1
            most = max(most, under_way)
            await asyncio.sleep(0)
            under_way -= 1
            return bytes(range(first, last))

        return [part async for part in in_order(fetch, start, start + more, Ranges(size, ahead, 0))]

    assert b"".join(asyncio.run(run())) == bytes(range(start, start + more))
    assert most <= ahead


async def test_an_end_in_the_middle_ends_all_ranges() -> None:
    cancelled = []

    async def fetch(first: int, last: int) -> bytes:
        try:
            await asyncio.sleep(0 if first == 0 else 60)
        except asyncio.CancelledError:
            cancelled.append(first)
            raise
        return b"x"

    async with aclosing(in_order(fetch, 0, 30, Ranges(10, 3, 0))) as parts:
        assert await anext(parts) == b"x"
    assert cancelled == [10, 20]


@asynccontextmanager
async def serving(*, ranges: bool = True, breaks: int = 0, lie: str = "") -> AsyncIterator[tuple[str, list[str]]]:
    asked: list[str] = []
    left = [breaks]

    async def answer(request: web.Request) -> web.StreamResponse:
        given = request.headers.get("Range", "")
        asked.append(given)
        if not given or not ranges:
            return web.Response(body=DATA)
        first, _, last = given.removeprefix("bytes=").partition("-")
        part = DATA[int(first) : int(last) + 1 if last else None]
        headers = {"Content-Range": lie or f"bytes {first}-{int(first) + len(part) - 1}/{len(DATA)}"}
        if left[0]:
            left[0] -= 1
            response = web.StreamResponse(status=206, headers=headers)
            response.content_length = len(part)
            await response.prepare(request)
            await response.write(part[:1000])
            assert request.transport
            request.transport.close()
            return response
        return web.Response(status=206, body=part, headers=headers)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    server = TestServer(app)
    await server.start_server()
    try:
        yield f"127.0.0.1:{server.port}", asked
    finally:
        await server.close()


async def copied(address: str, begun: bytes = b"") -> bytes:
    store = MemoryContent()
    if begun:
        with store.writer(f"layer-{BLOB.digest}", expected=BLOB.digest) as writer:
            writer.write(begun)
    async with RegistryClient(retry=Retry(3, 0.01, 0.02), ranges=SMALL, plain_http=True) as client:
        await copy_blob(client, references.parse(f"{address}/x:tag"), BLOB, StoreSink(store), {}, ignore)
    return store.data(BLOB.digest)


async def test_in_ranges() -> None:
    async with serving() as (address, asked):
        assert await copied(address) == DATA
    assert len(asked) == 11
    assert asked[0] == "bytes=0-99999"


async def test_begun_before_and_broken_off_meanwhile() -> None:
    async with serving(breaks=2) as (address, asked):
        assert await copied(address, DATA[:123_456]) == DATA
    assert asked[0] == "bytes=123456-223455"


async def test_a_registry_that_knows_no_ranges() -> None:
    async with serving(ranges=False) as (address, asked):
        assert await copied(address) == DATA
    assert asked[-1] == ""


async def test_ranges_of_something_else() -> None:
    for lie in ("bytes 0-99999/5", "bytes 7-9/10", "nonsense"):
        async with serving(lie=lie) as (address, _):
            with pytest.raises(DataLoss):
                await copied(address)


async def test_a_registry_that_never_gets_further() -> None:
    async with serving(breaks=1000) as (address, _):
        with pytest.raises(Unavailable):
            await copied(address)
