"""A registry that lies, breaks off, redirects and demands: nothing wrong gets into the store."""

import asyncio
import base64
import datetime
import gc
from collections.abc import Coroutine
from contextlib import suppress
from email.utils import format_datetime

import pytest
from aiohttp import web
from corten import digests
from corten.contracts.descriptor import Descriptor
from corten.errors import (
    CortenError,
    DataLoss,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    ResourceExhausted,
    Unauthenticated,
    Unavailable,
)
from corten.oci_image import documents, media_types
from corten.oci_image.build import Image
from corten.testing.content import MemoryContent
from lying_registry import (
    IMAGE,
    LAYER,
    ann,
    fetched,
    honest,
    is_layer,
    is_manifest,
    refused,
    serving,
)

pytestmark = pytest.mark.timeout(60)


async def test_an_honest_registry_serves() -> None:
    store = MemoryContent()
    async with serving() as (address, requests):
        await fetched(address, store)
    assert store.data(LAYER) == IMAGE.blobs[LAYER]
    assert [request.method for request in requests] == ["HEAD", "GET", "GET", "GET"]
    assert {request.headers["Accept-Encoding"] for request in requests} == {"identity"}


async def test_other_bytes_of_the_same_length() -> None:
    async def lie(request: web.Request) -> web.Response | None:
        return web.Response(body=bytes(len(IMAGE.blobs[LAYER]))) if is_layer(request) else None

    store = await refused(lie, DataLoss, "the bytes are others")
    assert store.statuses() == []


@pytest.mark.parametrize("length", [0, 10, len(IMAGE.blobs[LAYER]) + 1])
async def test_another_length_announced(length: int) -> None:
    async def lie(request: web.Request) -> web.Response | None:
        return web.Response(body=bytes(length)) if is_layer(request) else None

    await refused(lie, DataLoss, "the registry announces")


@pytest.mark.parametrize("length", [10, 40_000_000])
async def test_another_length_sent_without_announcing_it(length: int) -> None:
    async def lie(request: web.Request) -> web.StreamResponse | None:
        if not is_layer(request):
            return None
        response = web.StreamResponse()
        response.enable_chunked_encoding()
        await response.prepare(request)
        try:
            for _ in range(0, length, 100_000):
                await response.write(bytes(min(length, 100_000)))
        except ConnectionError:
            pass
        return response

    await refused(lie, DataLoss, "the registry (sends more|has 10 bytes)")


async def test_broken_connections_are_resumed_where_they_broke() -> None:
    async def drop(request: web.Request) -> web.StreamResponse | None:
        if not is_layer(request):
            return None
        start = int(request.headers.get("Range", "bytes=0-").removeprefix("bytes=").removesuffix("-"))
        data = IMAGE.blobs[LAYER]
        response = web.StreamResponse(status=206 if start else 200)
        response.headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
        response.content_length = len(data) - start
        await response.prepare(request)
        await response.write(data[start : start + 1_100_000])
        assert request.transport
        request.transport.close()
        return response

    store = MemoryContent()
    async with serving(drop) as (address, requests):
        await fetched(address, store)
    assert store.data(LAYER) == IMAGE.blobs[LAYER]
    ranges = [request.headers.get("Range") for request in requests if is_layer(request)]
    assert ranges[0] is None
    assert len(set(ranges)) == len(ranges) >= 3


async def test_a_registry_that_never_gets_further_is_given_up() -> None:
    async def drop(request: web.Request) -> web.StreamResponse | None:
        if is_layer(request):
            assert request.transport
            request.transport.close()
            return web.Response()
        return None

    store = await refused(drop, Unavailable, "content sha256")
    assert [status.offset for status in store.statuses()] == [0]


async def test_ranges_ignored_or_answered_wrong() -> None:
    async def whole(request: web.Request) -> web.Response | None:
        return web.Response(body=IMAGE.blobs[LAYER]) if is_layer(request) else None

    async def wrong(request: web.Request) -> web.Response | None:
        headers = {"Content-Range": "bytes 7-9/10"}
        return web.Response(status=206, body=b"abc", headers=headers) if is_layer(request) else None

    async def none(request: web.Request) -> web.Response | None:
        return web.Response(status=416) if is_layer(request) and "Range" in request.headers else None

    for first, error in ((whole, None), (none, None), (wrong, DataLoss)):
        store = MemoryContent()
        with store.writer(f"layer-{LAYER}", expected=LAYER) as writer:
            writer.write(IMAGE.blobs[LAYER][:1000])
        async with serving(first) as (address, _):
            if error is None:
                await fetched(address, store)
                assert store.data(LAYER) == IMAGE.blobs[LAYER]
            else:
                with pytest.raises(error, match="asked for bytes from 1000"):
                    await fetched(address, store)


async def test_passing_errors_are_tried_again() -> None:
    failures = [503, 429]

    async def fail(request: web.Request) -> web.Response | None:
        return web.Response(status=failures.pop()) if failures and not is_layer(request) else None

    async with serving(fail) as (address, _):
        await fetched(address, MemoryContent())
    assert failures == []


@pytest.mark.parametrize(
    ("status", "error"),
    [(403, PermissionDenied), (404, NotFound), (500, Unavailable), (429, ResourceExhausted), (401, Unauthenticated)],
)
async def test_refusals_have_their_own_class(status: int, error: type[CortenError]) -> None:
    async def fail(request: web.Request) -> web.Response | None:
        return web.Response(status=status, text="x" * 100000) if is_layer(request) else None

    await refused(fail, error, "registry 127.0.0.1")


@pytest.mark.parametrize("wait", ["3600", "date"])
async def test_a_long_wait_is_told_and_not_waited(wait: str) -> None:
    asked: list[web.Request] = []

    async def limit(request: web.Request) -> web.Response | None:
        if not is_layer(request):
            return None
        asked.append(request)
        later = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=3600)
        return web.Response(
            status=429, headers={"Retry-After": wait if wait != "date" else format_datetime(later, True)}
        )

    await refused(limit, ResourceExhausted, r"limits the rate.*asks to wait for (3600|3599|35\d\d) s")
    assert len(asked) == 1


async def test_a_short_wait_is_waited() -> None:
    asked: list[float] = []

    async def limit(request: web.Request) -> web.Response | None:
        if not is_layer(request):
            return None
        asked.append(asyncio.get_running_loop().time())
        return web.Response(status=503, headers={"Retry-After": "1"}) if len(asked) == 1 else None

    async with serving(limit) as (address, _):
        await fetched(address, MemoryContent())
    assert asked[1] - asked[0] >= 1


async def test_a_manifest_of_which_other_bytes_were_left() -> None:
    ref = media_types.ref_key(IMAGE.target.media_type, IMAGE.target.digest)
    for left, fails in ((b"short", False), (b"x" * IMAGE.target.size, True)):
        store = MemoryContent()
        with store.writer(ref, expected=IMAGE.target.digest) as writer:
            writer.write(left)
        async with serving() as (address, _):
            if fails:
                with pytest.raises(DataLoss, match="pull again"):
                    await fetched(address, store)
            await fetched(address, store)
        assert store.data(IMAGE.target.digest) == IMAGE.blobs[IMAGE.target.digest]


async def test_a_manifest_with_other_bytes() -> None:
    async def lie(request: web.Request) -> web.Response | None:
        return web.json_response({"schemaVersion": 2}) if is_manifest(request) else None

    await refused(lie, DataLoss, "with digest sha256")


async def test_a_digest_header_that_is_none() -> None:
    async def lie(request: web.Request) -> web.Response | None:
        headers = {"Docker-Content-Digest": "sha256:../../x", "Content-Length": "5"}
        return web.Response(headers=headers) if is_manifest(request, "HEAD") else None

    await refused(lie, InvalidArgument, "digest")


async def test_a_registry_without_head_and_without_digest_header() -> None:
    async def old(request: web.Request) -> web.Response | None:
        if is_manifest(request, "HEAD"):
            return web.Response(status=405)
        if request.path.endswith("/tag"):
            return web.Response(body=IMAGE.blobs[IMAGE.target.digest], content_type=IMAGE.target.media_type)
        return None

    store = MemoryContent()
    async with serving(old) as (address, _):
        await fetched(address, store)
    assert store.info(IMAGE.target.digest).size


@pytest.mark.parametrize(
    "said",
    [
        *("application/json", "application/octet-stream", "text/plain; charset=utf-8", ""),
        *(media_types.OCI_MANIFEST.upper(), f"{media_types.OCI_MANIFEST};charset=UTF-8", media_types.DOCKER_MANIFEST),
    ],
)
async def test_a_manifest_that_is_called_something_else(said: str) -> None:
    """Web servers with files in the place of a registry do not know better; the document itself does."""

    async def first(request: web.Request) -> web.Response | None:
        if "/manifests/" not in request.path:
            return None
        digest = IMAGE.target.digest
        headers = {"Content-Type": said, "Docker-Content-Digest": digest}
        return web.Response(body=IMAGE.blobs[digest], headers=headers)

    store = MemoryContent()
    async with serving(first) as (address, _):
        await fetched(address, store)
    assert store.data(LAYER) == IMAGE.blobs[LAYER]


async def test_a_manifest_without_end() -> None:
    async def endless(request: web.Request) -> web.StreamResponse | None:
        if not is_manifest(request):
            return None
        response = web.StreamResponse()
        await response.prepare(request)
        try:
            for _ in range(40):
                await response.write(bytes(1 << 20))
        except ConnectionError:
            pass
        return response

    await refused(endless, ResourceExhausted, "bytes allowed")


def _with_manifest(document: dict[str, object], media_type: str = media_types.OCI_MANIFEST) -> Image:
    data = documents.dump(document)
    target = documents.descriptor({"mediaType": media_type, "digest": digests.of(data), "size": len(data)}, "it")
    return Image("x", target, {**IMAGE.blobs, target.digest: data})


CONFIG = {"mediaType": media_types.OCI_CONFIG, "digest": LAYER, "size": 5}


@pytest.mark.parametrize(
    ("document", "says"),
    [
        ({}, "it has no 'config'"),
        ({"config": CONFIG, "layers": [], "manifests": []}, "ambiguous"),
        ({"config": CONFIG, "layers": [], "mediaType": media_types.OCI_INDEX}, "it says that it is"),
        ({"config": CONFIG, "layers": {}}, "not a list"),
        ({"config": CONFIG, "layers": [{"mediaType": "x", "digest": "sha256:../..", "size": 1}]}, "digest"),
        ({"config": CONFIG, "layers": [{**CONFIG, "size": -1}]}, "no proper size"),
        ({"config": CONFIG, "layers": [{**CONFIG, "size": True}]}, "no proper size"),
        ({"config": {**CONFIG, "size": 1 << 40}, "layers": []}, "its config has"),
        ({"config": [], "layers": []}, "not an object"),
    ],
)
async def test_malformed_manifests(document: dict[str, object], says: str) -> None:
    await refused(honest, InvalidArgument, says, _with_manifest(document))


async def test_indexes_without_end() -> None:
    data = documents.dump({"manifests": []})
    blobs = dict(IMAGE.blobs)
    for _ in range(6):
        entry = {"mediaType": media_types.OCI_INDEX, "digest": digests.of(data), "size": len(data)}
        blobs[digests.of(data)] = data
        data = documents.dump({"manifests": [entry]})
    blobs[digests.of(data)] = data
    target = documents.descriptor(
        {"mediaType": media_types.OCI_INDEX, "digest": digests.of(data), "size": len(data)}, "it"
    )
    await refused(honest, InvalidArgument, "nested", Image("x", target, blobs))


async def test_a_layer_that_the_config_knows_nothing_of_comes_along() -> None:
    manifest = documents.load(IMAGE.blobs[IMAGE.target.digest], "it")
    parts = Descriptor("application/vnd.example.parts+json", digests.of(b"parts"), 5)
    data = documents.dump({**manifest, "layers": [*manifest["layers"], documents.as_document(parts)]})
    target = Descriptor(media_types.OCI_MANIFEST, digests.of(data), len(data))
    image, store = Image("x", target, {**IMAGE.blobs, target.digest: data, parts.digest: b"parts"}), MemoryContent()
    async with serving(image=image) as (address, _):
        await fetched(address, store)
    assert store.data(parts.digest) == b"parts"


async def test_a_manifest_that_breaks_off_is_asked_for_again() -> None:
    broken: list[web.Request] = []

    async def breaks(request: web.Request) -> web.StreamResponse | None:
        if not is_manifest(request) or len(broken) == 2:
            return None
        broken.append(request)
        response = web.StreamResponse(headers={"Content-Length": str(IMAGE.target.size)})
        await response.prepare(request)
        await response.write(IMAGE.blobs[IMAGE.target.digest][:20])
        assert request.transport is not None
        request.transport.abort()
        return response

    async with serving(breaks) as (address, _):
        store = MemoryContent()
        await fetched(address, store)
    assert store.data(LAYER) == IMAGE.blobs[LAYER]


async def test_a_refusal_that_nobody_waits_for_any_more_leaves_no_connection(caplog: pytest.LogCaptureFixture) -> None:
    """aiohttp tells of those in the log, as errors, when a push whose other layers were refused is over."""
    said = asyncio.Event()

    async def stalls(request: web.Request) -> web.StreamResponse | None:
        if not is_layer(request):
            return None
        response = web.StreamResponse(status=403, headers={"Content-Length": "100"})
        await response.prepare(request)
        await response.write(b"no")
        said.set()
        await asyncio.sleep(30)
        return response

    async with serving(stalls) as (address, _):
        pull = asyncio.ensure_future(fetched(address, MemoryContent()))
        await said.wait()
        await asyncio.sleep(0.2)  # until the beginning has been read
        pull.cancel()
        await asyncio.wait([pull])
        del pull
        gc.collect()
    assert "Unclosed" not in caplog.text


async def test_redirects_are_followed_without_credentials() -> None:
    async def open_host(request: web.Request) -> web.Response:
        return web.Response(body=IMAGE.blobs[request.path.split("/")[-1]])

    async with serving(open_host) as (other, theirs):

        async def redirect(request: web.Request) -> web.Response | None:
            if "Authorization" not in request.headers:
                return web.Response(status=401, headers={"WWW-Authenticate": 'Basic realm="r"'})
            if "/blobs/" in request.path:
                location = f"http://{other}/elsewhere/{request.path.split('/')[-1]}"
                return web.Response(status=307, headers={"Location": location})
            return None

        async with serving(redirect) as (address, ours):
            store = MemoryContent()
            await fetched(address, store, credentials=ann)
    assert store.data(LAYER) == IMAGE.blobs[LAYER]
    assert theirs
    assert not any("Authorization" in request.headers for request in theirs)
    assert base64.b64encode(b"ann:secret").decode() in ours[-1].headers["Authorization"]


@pytest.mark.parametrize(
    "headers", [{"X-Team": "a\nb"}, {"X-Team": "a\r\nHost: other"}, {"X\nTeam": "a"}, {"X Team": "a"}]
)
async def test_headers_that_cannot_be_sent_are_refused_by_name_of_the_registry(headers: dict[str, str]) -> None:
    async with serving() as (address, requests):
        with pytest.raises(InvalidArgument, match=f"registry {address}: the request cannot be sent: .*headers"):
            await fetched(address, MemoryContent(), headers=headers)
    assert not requests


async def test_a_redirected_host_cannot_ask_for_the_credentials() -> None:
    async def thief(request: web.Request) -> web.Response:
        return web.Response(status=401, headers={"WWW-Authenticate": 'Basic realm="r"'})

    async with serving(thief) as (other, theirs):

        async def redirect(request: web.Request) -> web.Response | None:
            return web.Response(status=302, headers={"Location": f"http://{other}/x"}) if is_layer(request) else None

        async with serving(redirect) as (address, _):
            with pytest.raises(Unauthenticated):
                await fetched(address, MemoryContent(), credentials=ann)
    assert not any("Authorization" in request.headers for request in theirs)


@pytest.mark.parametrize(
    ("location", "error"),
    [
        ("", InvalidArgument),
        ("/", FailedPrecondition),
        ("file:///etc/passwd", PermissionDenied),
        ("http://[broken", InvalidArgument),
    ],
)
async def test_redirects_to_nowhere(location: str, error: type[CortenError]) -> None:
    async def redirect(request: web.Request) -> web.Response | None:
        wanted = is_layer(request) or request.path == "/"
        return web.Response(status=302, headers={"Location": location}) if wanted else None

    await refused(redirect, error, "redirect")


async def test_tokens_are_fetched_once_and_renewed() -> None:
    issued: list[web.Request] = []

    async def with_tokens(request: web.Request) -> web.Response | None:
        if request.path == "/token":
            issued.append(request)
            return web.json_response({"token": f"t{len(issued)}"})
        valid = "Bearer t2" if "/blobs/" in request.path else "Bearer t1"
        if request.headers.get("Authorization") == valid:
            return None
        realm = f'Bearer realm="http://{request.host}/token",service="s",scope="repository:x:pull"'
        return web.Response(status=401, headers={"WWW-Authenticate": realm})

    async with serving(with_tokens) as (address, _):
        await fetched(address, MemoryContent(), credentials=ann)
    assert [dict(request.query) for request in issued] == [{"service": "s", "scope": "repository:x:pull"}] * 2
    assert all(request.headers["Authorization"].startswith("Basic ") for request in issued)


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        ("no json", Unauthenticated),
        ("{}", Unauthenticated),
        ('{"token": "a\\nb"}', Unauthenticated),
        ("[]", Unauthenticated),
    ],
)
async def test_token_servers_that_give_none(answer: str, error: type[CortenError]) -> None:
    async def with_tokens(request: web.Request) -> web.Response:
        if request.path == "/token":
            return web.Response(text=answer)
        return web.Response(status=401, headers={"WWW-Authenticate": f'Bearer realm="http://{request.host}/token"'})

    await refused(with_tokens, error, "token server")


async def test_a_token_server_that_is_down_for_a_moment() -> None:
    statuses = [503, 429]

    async def with_tokens(request: web.Request) -> web.Response | None:
        if request.path == "/token":
            return web.Response(status=statuses.pop()) if statuses else web.json_response({"access_token": "t"})
        if request.headers.get("Authorization") == "Bearer t":
            return None
        return web.Response(status=401, headers={"WWW-Authenticate": f'Bearer realm="http://{request.host}/token"'})

    async with serving(with_tokens) as (address, _):
        await fetched(address, MemoryContent())
    assert statuses == []


async def test_a_pull_can_be_cancelled_at_every_step() -> None:
    """Each run is cancelled one step of the event loop later than the one before, until one runs through."""
    store, steps = MemoryContent(), 0
    async with serving() as (address, _):
        while not await _cancelled_after(steps, fetched(address, store)):
            for status in store.statuses():
                store.writer(status.ref).close()  # Unavailable if the cancelled pull still held it
            steps += 1 + steps // 8
    assert steps > 20
    assert {info.digest: store.data(info.digest) for info in store.walk()} == IMAGE.blobs
    assert store.statuses() == []


async def _cancelled_after(steps: int, work: Coroutine[None, None, None]) -> bool:
    """Whether it was done by then."""
    task = asyncio.ensure_future(work)
    for _ in range(steps):
        await asyncio.sleep(0)
    if task.done():
        await task
        return True
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    return False


@pytest.mark.parametrize("realm", ["", "nonsense", "ftp://x/y", "file:///etc/passwd"])
async def test_token_servers_that_are_none(realm: str) -> None:
    async def ask(request: web.Request) -> web.Response:
        return web.Response(status=401, headers={"WWW-Authenticate": f'Bearer realm="{realm}"'})

    await refused(ask, Unauthenticated, "not to be trusted")
