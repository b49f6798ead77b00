"""Pushes: to a real registry, to one that breaks off, mounted from another repository, and refused with a reason."""

import asyncio
import json
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import peers
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from corten import digests, references
from corten.contracts.content import ContentInfo, ContentStore
from corten.contracts.descriptor import Descriptor
from corten.errors import CortenError, DataLoss, FailedPrecondition, NotFound
from corten.oci_image import documents, media_types
from corten.oci_image.build import File, Image, build, layer
from corten.platforms import Platform
from corten.registry.client import RegistryClient
from corten.registry.export import ExportOptions, Named, planned
from corten.registry.progress import Progress, Show, State, ignore
from corten.registry.push import push
from corten.registry.retry import Retry
from corten.registry.source import StoreSource
from corten.testing.content import MemoryContent

pytestmark = [pytest.mark.integration, pytest.mark.timeout(60)]
BIG = bytes(range(256)) * (18 << 12)
IMAGE = build("x", [layer([File("big", BIG)], compressed=False)], Platform("linux", "amd64"), {"Cmd": ["true"]})
LAYER = next(digest for digest, data in IMAGE.blobs.items() if len(data) > len(BIG))
QUICK = Retry(attempts=3, first=0.01, most=0.02)


def filled(image: Image = IMAGE, labels: dict[str, str] | None = None) -> MemoryContent:
    store = MemoryContent()
    for digest, data in image.blobs.items():
        with store.writer(digest) as writer:
            writer.write(data)
            writer.commit(len(data), digest, labels or {})
    return store


async def pushed(name: str, store: ContentStore, image: Image = IMAGE, show: Show = ignore) -> None:
    async with RegistryClient(retry=QUICK) as client:
        await push(client, references.parse(name), StoreSource(store), image.target, progress=show)


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with peers.registry(tmp_path_factory.mktemp("registry")) as address:
        yield address


def inspected(name: str) -> str:
    argv = ["skopeo", "inspect", "--tls-verify=false", "--format", "{{.Digest}}", f"docker://{name}"]
    return subprocess.run(argv, check=True, capture_output=True, text=True).stdout.strip()


async def test_skopeo_reads_what_was_pushed(registry: str, tmp_path: Path) -> None:
    seen = list[Progress]()
    await pushed(f"{registry}/a/b:v1", filled(), show=seen.append)
    assert inspected(f"{registry}/a/b:v1") == IMAGE.target.digest
    argv = ["skopeo", "copy", "-q", "--src-tls-verify=false", f"docker://{registry}/a/b:v1", f"dir:{tmp_path}/out"]
    await asyncio.to_thread(subprocess.run, argv, check=True)
    copied = (tmp_path / "out" / LAYER.removeprefix("sha256:")).read_bytes()
    assert digests.of(copied) == LAYER
    offsets = [each.offset for each in seen if each.digest == LAYER]
    assert len(offsets) >= 4, "it went up in chunks"
    assert offsets == sorted(offsets)


async def test_again_nothing_is_sent_but_the_tag(registry: str) -> None:
    await pushed(f"{registry}/twice:v1", filled())
    seen = list[Progress]()
    await pushed(f"{registry}/twice:v2", filled(), show=seen.append)
    assert {each.state for each in seen if each.digest != IMAGE.target.digest} == {State.WAITING, State.EXISTS}
    assert inspected(f"{registry}/twice:v2") == IMAGE.target.digest


async def test_blobs_are_mounted_from_where_they_came(registry: str) -> None:
    await pushed(f"{registry}/from/here:v1", filled())
    seen = list[Progress]()
    labelled = filled(labels={"containerd.io/distribution.source.127.0.0.1": "from/here"})
    await pushed(f"{registry}/to/there:v1", labelled, show=seen.append)
    assert {each.state for each in seen if each.digest == LAYER} == {State.WAITING, State.EXISTS}
    assert inspected(f"{registry}/to/there:v1") == IMAGE.target.digest


async def test_what_is_missing_or_damaged_is_not_pushed(registry: str) -> None:
    store = filled()
    store.delete(LAYER)
    with pytest.raises(NotFound, match=LAYER):
        await pushed(f"{registry}/missing:v1", store)
    with pytest.raises(NotFound, match="not in the content store"):
        await pushed(f"{registry}/missing:v1", MemoryContent())


class Uploads:
    """A registry in memory that takes uploads, and can be told to break off."""

    def __init__(self) -> None:
        self.blobs: dict[str, bytes] = {}
        self.uploads: list[bytearray] = []
        self.breaks = 0
        self.digest_said = ""
        self.requests: list[str] = []

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(request.method)
        match request.method, request.path.split("/")[-2:]:
            case "HEAD", [_, name]:
                return web.Response(status=200 if name in self.blobs else 404)
            case "POST", _:
                self.uploads.append(bytearray())
                return web.Response(
                    status=202, headers={"Location": f"/v2/x/blobs/uploads/{len(self.uploads) - 1}?state=a"}
                )
            case "PATCH", _:
                return await self._patch(request)
            case "GET", _:
                upload = self.uploads[int(request.path.split("/")[-1])]
                headers = {"Range": f"0-{len(upload) - 1}", "Location": str(request.rel_url)}
                return web.Response(status=204, headers=headers)
            case "PUT", ["manifests", _]:
                return web.Response(
                    status=201, headers={"Docker-Content-Digest": self.digest_said or IMAGE.target.digest}
                )
        upload = self.uploads[int(request.path.split("/")[-1])]
        upload += await request.read()
        digest = request.query["digest"]
        if digests.of(bytes(upload)) != digest:
            return web.json_response({"errors": [{"code": "DIGEST_INVALID", "message": "no"}]}, status=400)
        self.blobs[digest] = bytes(upload)
        return web.Response(status=201)

    async def _patch(self, request: web.Request) -> web.StreamResponse:
        start = int(request.headers["Content-Range"].partition("-")[0])
        data, upload = await request.read(), self.uploads[int(request.path.split("/")[-1])]
        if start != len(upload):
            return web.Response(status=416)
        if self.breaks:
            self.breaks -= 1
            upload += data[:1_000_000]
            assert request.transport
            request.transport.close()
            return web.Response()
        upload += data
        return web.Response(status=202, headers={"Location": f"{request.path}?state=b"})


@asynccontextmanager
async def serving(uploads: Uploads) -> AsyncIterator[str]:
    app = web.Application(client_max_size=1 << 30)
    app.router.add_route("*", "/{path:.*}", uploads.answer)
    server = TestServer(app)
    await server.start_server()
    try:
        yield f"127.0.0.1:{server.port}"
    finally:
        await server.close()


async def test_an_upload_that_breaks_off_goes_on_where_it_stands() -> None:
    uploads = Uploads()
    uploads.breaks = 2
    async with serving(uploads) as address:
        await pushed(f"{address}/x:v1", filled())
    assert uploads.blobs[LAYER] == IMAGE.blobs[LAYER]
    assert uploads.requests.count("GET") == 2


class Answering(Uploads):
    """Answers as it is told to the first request of a method, or to each; else as ever."""

    def __init__(self, method: str, status: int, *, once: bool = False, location: str = "") -> None:
        super().__init__()
        self.told = (method, status)
        self.once = once
        self.location = location

    async def answer(self, request: web.Request) -> web.StreamResponse:
        method, status = self.told
        if request.method == method and status:
            self.told = ("", 0) if self.once else self.told
            await request.read()
            return web.Response(status=status)
        response = await super().answer(request)
        if self.location and request.method == "POST":
            response.headers["Location"] = self.location.format(request.host, response.headers["Location"])
        return response


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("method", ["PATCH", "PUT", "POST"])
async def test_a_registry_that_is_too_busy_for_a_moment(method: str, status: int) -> None:
    uploads = Answering(method, status, once=True)
    async with serving(uploads) as address:
        await pushed(f"{address}/x:v1", filled())
    assert uploads.blobs[LAYER] == IMAGE.blobs[LAYER]


@pytest.mark.parametrize("location", ["http://{0}{1}", "{0}{1}"])
async def test_where_to_upload_to_may_be_said_in_several_ways(location: str) -> None:
    uploads = Answering("", 0, location=location)
    async with serving(uploads) as address:
        await pushed(f"{address}/x:v1", filled())
    assert uploads.blobs[LAYER] == IMAGE.blobs[LAYER]


@pytest.mark.parametrize(
    ("method", "status", "says"),
    [("POST", 403, "image .*/x:v1: registry .*: it denies access"), ("PUT", 413, "takes nothing of that size")],
)
async def test_what_a_registry_does_not_take(method: str, status: int, says: str) -> None:
    async with serving(Answering(method, status)) as address:
        with pytest.raises(CortenError, match=says):
            await pushed(f"{address}/x:v1", filled())


async def test_an_upload_that_never_gets_further_is_given_up() -> None:
    uploads = Uploads()
    uploads.breaks = 100
    async with serving(uploads) as address:
        with pytest.raises(CortenError, match="cannot reach registry"):
            await pushed(f"{address}/x:v1", filled())
    assert LAYER not in uploads.blobs


async def test_a_registry_that_stores_something_else() -> None:
    uploads = Uploads()
    uploads.digest_said = "sha256:" + "0" * 64
    async with serving(uploads) as address:
        with pytest.raises(FailedPrecondition, match="another digest"):
            await pushed(f"{address}/x:v1", filled())


class WithoutChunks(Uploads):
    """Takes a blob only as a whole."""

    def __init__(self, status: int) -> None:
        super().__init__()
        self.status = status

    async def _patch(self, request: web.Request) -> web.StreamResponse:
        if self.status:
            return web.Response(status=self.status)
        await request.read()  # taken, it says, and yet the end will not have the digest
        return web.Response(status=202, headers={"Location": f"{request.path}?state=b"})


@pytest.mark.parametrize("status", [400, 404, 405, 416, 0])
async def test_a_registry_that_knows_no_chunks(status: int) -> None:
    image = build("x", [layer([File(name, BIG)], compressed=False) for name in "ab"], Platform("linux", "amd64"), {})
    uploads, seen = WithoutChunks(status), list[Progress]()
    uploads.digest_said = image.target.digest
    async with serving(uploads) as address:
        await pushed(f"{address}/x:v1", filled(image), image, seen.append)
    assert {digest: data for digest, data in image.blobs.items() if digest != image.target.digest} == uploads.blobs
    big = {digest for digest, data in image.blobs.items() if len(data) > len(BIG)}
    assert all(len({each.offset for each in seen if each.digest == digest}) > 4 for digest in big)


async def test_the_least_chunk_that_a_registry_takes() -> None:
    class Choosy(Uploads):
        async def answer(self, request: web.Request) -> web.StreamResponse:
            response = await super().answer(request)
            if request.method == "POST":
                response.headers["OCI-Chunk-Min-Length"] = str(10 << 20)
            return response

        async def _patch(self, request: web.Request) -> web.StreamResponse:
            assert request.content_length == 10 << 20
            return await super()._patch(request)

    uploads = Choosy()
    async with serving(uploads) as address:
        await pushed(f"{address}/x:v1", filled())
    assert uploads.blobs[LAYER] == IMAGE.blobs[LAYER]
    assert uploads.requests.count("PATCH") == 1


@pytest.mark.parametrize("status", [401, 403, 404])
async def test_who_may_not_read_the_other_repository_pushes_the_blob(status: int) -> None:
    class Guarded(Uploads):
        async def answer(self, request: web.Request) -> web.StreamResponse:
            return web.Response(status=status) if "from" in request.query else await super().answer(request)

    uploads = Guarded()
    async with serving(uploads) as address:
        await pushed(f"{address}/x:v1", filled(labels={"containerd.io/distribution.source.127.0.0.1": "secret/y"}))
    assert uploads.blobs[LAYER] == IMAGE.blobs[LAYER]


@pytest.mark.parametrize("there", [True, False])
async def test_what_is_not_here_is_mounted_from_where_the_image_came(there: bool) -> None:
    """Of an image for many platforms only one was fetched, and it is pushed to another repository of its registry."""

    class Mounting(Uploads):
        async def answer(self, request: web.Request) -> web.StreamResponse:
            if there and request.query.get("from") == "lib/x":
                return web.Response(status=201)
            return await super().answer(request)

    entry = documents.as_document(IMAGE.target, Platform("linux", "arm64"))
    data = json.dumps({"manifests": [entry]}).encode()
    target = Descriptor(media_types.OCI_INDEX, digests.of(data), len(data))
    image = Image("x", target, {**IMAGE.blobs, target.digest: data})
    store, uploads = filled(image), Mounting()
    store.delete(LAYER)
    labels = {"containerd.io/distribution.source.127.0.0.1": "lib/x"}
    store.update(ContentInfo(target.digest, labels=labels), ["labels"])
    async with serving(uploads) as address:
        uploads.digest_said = IMAGE.target.digest
        if not there:
            with pytest.raises(NotFound, match=f"{LAYER} is not in the content store"):
                await pushed(f"{address}/y:v1", store, image)
            return
        with pytest.raises(FailedPrecondition, match=f"another digest, {IMAGE.target.digest}"):
            await pushed(f"{address}/y:v1", store, image)  # this registry knows but one: it got as far as the index
    assert LAYER not in uploads.blobs


async def test_of_several_repositories_the_nearest_is_mounted_from() -> None:
    origins: set[str] = set()

    class Mounting(Uploads):
        async def answer(self, request: web.Request) -> web.StreamResponse:
            if "from" not in request.query:
                return await super().answer(request)
            origins.add(request.query["from"])
            return web.Response(status=201)

    labels = {"containerd.io/distribution.source.127.0.0.1": "a/x,team/app/base,team/other,team/app/new"}
    async with serving(Mounting()) as address:
        await pushed(f"{address}/team/app/new:v1", filled(labels=labels))
    assert origins == {"team/app/base"}


def foreign() -> Image:
    """The image with a layer that may not be passed on, which the store has not got."""
    manifest = json.loads(IMAGE.blobs[IMAGE.target.digest])
    layer = {"mediaType": "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", "size": 9}
    manifest["layers"].append({**layer, "digest": digests.of(b"elsewhere"), "urls": ["https://elsewhere.example/x"]})
    data = json.dumps(manifest).encode()
    target = Descriptor(IMAGE.target.media_type, digests.of(data), len(data))
    return Image("x", target, {**IMAGE.blobs, target.digest: data})


async def test_a_layer_that_may_not_be_passed_on_and_is_not_here() -> None:
    uploads, image = Uploads(), foreign()
    uploads.digest_said = image.target.digest
    async with serving(uploads) as address:
        await pushed(f"{address}/x:v1", filled(image), image)
    assert set(uploads.blobs) == set(IMAGE.blobs) - {IMAGE.target.digest}
    plan = await planned(StoreSource(filled(image)), [Named("x", image.target)], ExportOptions())
    assert {blob.digest for blob in plan.blobs.values()} == {*uploads.blobs, image.target.digest}


async def test_of_an_index_the_platforms_asked_for() -> None:
    entry = documents.as_document(IMAGE.target, Platform("linux", "amd64"))
    other = {**entry, "digest": digests.of(b"arm"), "platform": {"os": "linux", "architecture": "arm64"}}
    data = json.dumps({"manifests": [entry, other]}).encode()
    target = Descriptor(media_types.OCI_INDEX, digests.of(data), len(data))
    image, uploads = Image("x", target, {**IMAGE.blobs, target.digest: data}), Uploads()
    names: list[str] = []

    async def answer(request: web.Request) -> web.StreamResponse:
        if request.method == "PUT" and "/manifests/" in request.path:
            names.append(request.path.rpartition("/")[2])
            uploads.digest_said = digests.of(await request.read())
        return await Uploads.answer(uploads, request)

    uploads.answer = answer  # type: ignore[method-assign]
    async with serving(uploads) as address, RegistryClient(retry=QUICK) as client:
        reference, source = references.parse(f"{address}/x:v1"), StoreSource(filled(image))
        with pytest.raises(NotFound, match="with --all-platforms, or push one of its images with --platform"):
            await push(client, reference, source, target)
        await push(client, reference, source, target, platforms=[Platform("linux", "amd64")])
    assert names[-2:] == [IMAGE.target.digest, "v1"]


async def test_names_in_an_export() -> None:
    """OCI's annotation has the tag; a name without one stands there as a whole, as in containerd."""
    names = ["r.example/x:1", f"r.example/x@{IMAGE.target.digest}", "odd", "r.example/x"]
    plan = await planned(StoreSource(filled()), [Named(name, IMAGE.target) for name in names], ExportOptions())
    entries = json.loads(plan.made["index.json"])["manifests"]
    assert [entry["annotations"]["io.containerd.image.name"] for entry in entries] == names
    assert [entry["annotations"]["org.opencontainers.image.ref.name"] for entry in entries] == ["1", *names[1:]]


async def test_a_manifest_damaged_in_the_store() -> None:
    class Damaged(StoreSource):
        async def read(self, digest: str, limit: int) -> bytes:
            return json.dumps({"config": {}}).encode()

    async with serving(Uploads()) as address, RegistryClient(retry=QUICK) as client:
        with pytest.raises(DataLoss, match="are others"):
            await push(client, references.parse(f"{address}/x:v1"), Damaged(filled()), IMAGE.target)
