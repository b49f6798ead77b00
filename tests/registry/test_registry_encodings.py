"""What a registry, or the store behind it, sends under a Content-Encoding."""

import gzip
import tracemalloc
import zlib
from collections.abc import Callable

import pytest
import zstandard
from aiohttp import web
from corten import digests, references
from corten.contracts.descriptor import Descriptor
from corten.errors import CortenError, DataLoss, FailedPrecondition
from corten.oci_image.media_types import OCI_LAYER
from corten.registry.client import RegistryClient
from corten.registry.ranges import Ranges
from corten.testing.content import MemoryContent
from lying_registry import IMAGE, LAYER, fetched, is_layer, refused, serving

HUGE = 96 << 20


def raw_deflate(data: bytes) -> bytes:
    """As servers send it that forget zlib's header."""
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(data) + packer.flush()


def wide_zstd(data: bytes) -> bytes:
    """With a window of 128 MiB."""
    packer = zstandard.ZstdCompressor(
        compression_params=zstandard.ZstdCompressionParameters(window_log=27, write_content_size=False)
    ).compressobj()
    return packer.compress(data) + packer.flush()


ENCODINGS: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "gzip": ("gzip", gzip.compress),
    "gzip in members": ("X-GZip", lambda data: gzip.compress(data[:1000]) + gzip.compress(data[1000:])),
    "deflate": ("deflate", zlib.compress),
    "deflate without a header": ("deflate", raw_deflate),
    "zstd in frames": ("zstd", lambda data: zstandard.compress(data[:1000]) + zstandard.compress(data[1000:])),
    "identity": ("identity", bytes),
}


def bytes_asked_for(request: web.Request) -> bytes:
    _, name = request.path.split("/")[-2:]
    return IMAGE.blobs.get(IMAGE.target.digest if name == "tag" else name, b"")


@pytest.mark.parametrize("kind", ENCODINGS)
async def test_documents_and_layers_are_decoded(kind: str) -> None:
    name, encode = ENCODINGS[kind]

    async def encoded(request: web.Request) -> web.Response | None:
        headers = {"Content-Encoding": name, "Docker-Content-Digest": IMAGE.target.digest}
        return web.Response(
            body=encode(bytes_asked_for(request)), headers=headers, content_type=IMAGE.target.media_type
        )

    store = MemoryContent()
    async with serving(encoded) as (address, requests):
        await fetched(address, store)
    assert {info.digest for info in store.walk()} == set(IMAGE.blobs)
    assert {request.headers["Accept-Encoding"] for request in requests} == {"identity"}


@pytest.mark.parametrize(
    ("name", "body", "error", "says"),
    [
        ("br", b"?", FailedPrecondition, "Content-Encoding 'br', which was not asked for"),
        ("gzip, gzip", gzip.compress(gzip.compress(IMAGE.blobs[LAYER])), FailedPrecondition, "'gzip, gzip'"),
        ("gzip", IMAGE.blobs[LAYER], DataLoss, "says it is encoded as gzip, and it is not"),
        ("zstd", IMAGE.blobs[LAYER], DataLoss, "says it is encoded as zstd, and it is not"),
        ("deflate", b"\xff" * 100, DataLoss, "says it is encoded as deflate, and it is not"),
        ("gzip", gzip.compress(IMAGE.blobs[LAYER])[:-2000], DataLoss, "of its"),
        ("gzip", gzip.compress(IMAGE.blobs[LAYER] + b"more"), DataLoss, "sends more than"),
        ("zstd", zstandard.compress(IMAGE.blobs[LAYER][:-1]), DataLoss, "of its"),
        ("zstd", wide_zstd(IMAGE.blobs[LAYER]), DataLoss, "too much memory"),
    ],
    ids=range(9),  # gzip writes the time, and workers must agree on the names
)
async def test_lies_about_it(name: str, body: bytes, error: type[CortenError], says: str) -> None:
    async def lie(request: web.Request) -> web.Response | None:
        return web.Response(body=body, headers={"Content-Encoding": name}) if is_layer(request) else None

    await refused(lie, error, says)


@pytest.mark.parametrize("name", ["gzip", "deflate", "zstd"])
async def test_memory_is_bounded_however_well_it_is_compressed(name: str) -> None:
    zeros = bytes(HUGE)
    body = ENCODINGS[name if name != "zstd" else "zstd in frames"][1](zeros)
    blob = Descriptor(OCI_LAYER, digests.of(zeros), HUGE)
    del zeros

    async def small(_: web.Request) -> web.Response:
        return web.Response(body=body, headers={"Content-Encoding": name})

    async with serving(small) as (address, _), RegistryClient(ranges=Ranges(0)) as client:
        tracemalloc.start()
        try:
            size = 0
            async for part in client.fetch(references.parse(f"{address}/x:tag"), blob):
                size += len(part)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert size == HUGE
    assert peak < 16 << 20


@pytest.mark.parametrize("partial", [True, False])
async def test_what_breaks_off_goes_on_by_what_was_decoded(partial: bool) -> None:
    """`partial`: the server counts ranges in the encoded bytes, which are of no use."""
    whole = gzip.compress(IMAGE.blobs[LAYER], 1)
    breaks = [1]

    async def drop(request: web.Request) -> web.StreamResponse | None:
        if not is_layer(request):
            return None
        start = int(request.headers.get("Range", "bytes=0-").removeprefix("bytes=").removesuffix("-"))
        status, body = (206, whole[start:]) if start and partial else (200, whole)
        response = web.StreamResponse(status=status, headers={"Content-Encoding": "gzip"})
        response.headers["Content-Range"] = f"bytes {start}-{len(whole) - 1}/{len(whole)}"
        response.content_length = len(body)
        await response.prepare(request)
        if breaks:
            breaks.pop()
            await response.write(body[: len(body) // 2])
            assert request.transport
            request.transport.close()
        else:
            await response.write(body)
        return response

    store = MemoryContent()
    async with serving(drop) as (address, _):
        await fetched(address, store)
    assert store.data(LAYER) == IMAGE.blobs[LAYER]


async def test_ranges_side_by_side_of_what_is_encoded() -> None:
    async def encoded(request: web.Request) -> web.Response | None:
        if not is_layer(request):
            return None
        body = gzip.compress(IMAGE.blobs[LAYER])
        headers = {"Content-Encoding": "gzip", "Content-Range": f"bytes 0-{len(body) - 1}/{len(body)}"}
        return web.Response(status=206 if "Range" in request.headers else 200, body=body, headers=headers)

    store = MemoryContent()
    async with serving(encoded) as (address, _):
        await fetched(address, store, ranges=Ranges(1 << 20, 3, 1 << 20))
    assert store.data(LAYER) == IMAGE.blobs[LAYER]
