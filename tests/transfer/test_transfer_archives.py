"""Import and export over streams: read by skopeo, byte for byte the same twice, refused when wrong."""

import asyncio
import gzip
import hashlib
import io
import json
import subprocess
import tarfile
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import images
import pytest
from corten.api.types.platform_pb2 import Platform
from corten.api.types.transfer.imagestore_pb2 import ImageReference, ImageStore, UnpackConfiguration
from corten.api.types.transfer.importexport_pb2 import ImageExportStream, ImageImportStream
from corten.client.byte_streams import receive_file, send_file
from corten.client.client import Client
from corten.client.image import resolve
from corten.errors import CortenError, InvalidArgument, NotFound
from daemon import Daemon, running_daemon

pytestmark = [pytest.mark.integration, pytest.mark.timeout(60)]
AMD64 = Platform(os="linux", architecture="amd64")


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    with running_daemon() as running:
        yield running


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The five-layer image as an OCI archive that calls it `latest`."""
    folder = tmp_path_factory.mktemp("archive")
    layout = images.write_layout(folder / "layout")
    argv = ["skopeo", "copy", "-q", f"oci:{layout}:latest", f"oci-archive:{folder}/five.tar:latest"]
    subprocess.run(argv, check=True)
    return folder / "five.tar"


async def taken_in(client: Client, data: bytes, store: ImageStore, *, force_compress: bool = False) -> None:
    async with client.transfers.opened("import") as stream:
        sending = asyncio.create_task(send_file(stream, io.BytesIO(data)))
        try:
            await client.transfers.run(ImageImportStream(stream=stream.id, force_compress=force_compress), store)
        finally:
            sending.cancel()
            await asyncio.wait([sending])


async def given_out(client: Client, store: ImageStore, **options: object) -> bytes:
    out = io.BytesIO()
    async with client.transfers.opened("export") as stream:
        receiving = asyncio.create_task(receive_file(stream, out))
        try:
            await client.transfers.run(store, ImageExportStream(stream=stream.id, **options))  # type: ignore[arg-type]
            await receiving
        finally:
            receiving.cancel()
            await asyncio.wait([receiving])
    return out.getvalue()


def named(prefix: str, **options: bool) -> ImageStore:
    unpack = UnpackConfiguration(platform=AMD64, snapshotter="native")
    reference = ImageReference(name=prefix, is_prefix=True, **options)
    return ImageStore(extra_references=[reference], unpacks=[unpack])


@pytest.mark.parametrize("data", [b"", b"some content", bytes(1 << 20)], ids=["none", "little", "much"])
async def test_a_stream_comes_back_as_it_is(daemon: Daemon, data: bytes) -> None:
    out = io.BytesIO()
    async with (
        Client(daemon.address, "echo") as client,
        client.transfers.opened("import") as there,
        client.transfers.opened("export") as back,
    ):
        receiving = asyncio.create_task(receive_file(back, out))
        sending = asyncio.create_task(send_file(there, io.BytesIO(data)))
        await client.transfers.run(ImageImportStream(stream=there.id), ImageExportStream(stream=back.id))
        await asyncio.gather(sending, receiving)
    assert out.getvalue() == data


async def test_in_and_out_and_read_by_skopeo(daemon: Daemon, archive: Path, tmp_path: Path) -> None:
    async with Client(daemon.address, "both") as client:
        await taken_in(client, archive.read_bytes(), named("r.example/five"))
        image = await client.images.get("r.example/five:latest")
        found = await resolve(client, image)
        assert (await client.snapshots("native").stat(found.top)).kind == "committed"
        out = await given_out(client, ImageStore(name=image.name))
        assert out == await given_out(client, ImageStore(name=image.name)), "the same bytes twice"
    (tmp_path / "out.tar").write_bytes(out)
    for form in (f"oci-archive:{tmp_path}/out.tar", f"docker-archive:{tmp_path}/out.tar"):
        argv = ["skopeo", "inspect", "--config", form]
        said = await asyncio.to_thread(subprocess.run, argv, check=True, capture_output=True, text=True)
        assert json.loads(said.stdout)["rootfs"]["diff_ids"] == list(found.config.diff_ids)
    check_members(out, found.target.digest)


def check_members(data: bytes, digest: str) -> None:
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        members = tar.getmembers()
        assert [member.name for member in members] == sorted(member.name for member in members)
        assert {(member.mtime, member.uid, member.gid) for member in members} == {(0, 0, 0)}
        for member in members:
            if member.isfile() and member.name.startswith("blobs/"):
                opened = tar.extractfile(member)
                assert opened and hashlib.sha256(opened.read()).hexdigest() == member.name.rpartition("/")[2]
        index, docker = (
            json.loads((tar.extractfile(name) or io.BytesIO()).read()) for name in ("index.json", "manifest.json")
        )
    (entry,) = index["manifests"]
    assert entry["digest"] == digest
    assert entry["annotations"]["io.containerd.image.name"] == "r.example/five:latest"
    assert entry["annotations"]["org.opencontainers.image.ref.name"] == "latest"
    assert docker[0]["RepoTags"] == ["r.example/five:latest"]


async def test_what_was_exported_goes_in_again_under_its_own_name(daemon: Daemon, archive: Path) -> None:
    async with Client(daemon.address, "first") as client, Client(daemon.address, "second") as other:
        await taken_in(client, archive.read_bytes(), named("r.example/five"))
        out = await given_out(client, ImageStore(name="r.example/five:latest"), skip_compatibility_manifest=True)
        await taken_in(other, out, named("import-2026", allow_overwrite=True))
        assert [image.name for image in await other.images.list()] == ["r.example/five:latest"]
        await taken_in(other, out, named("import-2026", add_digest=True))
        digest = (await client.images.get("r.example/five:latest")).target.digest
        assert f"import-2026@{digest}" in [image.name for image in await other.images.list()]
    with tarfile.open(fileobj=io.BytesIO(out)) as tar:
        assert "manifest.json" not in tar.getnames()


async def test_annotations_of_an_archive_come_and_go_with_the_image(daemon: Daemon, archive: Path) -> None:
    """As in containerd, and where a blob came from is told in an archive as an annotation."""
    source = "containerd.io/distribution.source.r.example"
    async with Client(daemon.address, "notes") as client, Client(daemon.address, "notes-2") as other:
        await taken_in(client, archive.read_bytes(), named("r.example/five"))
        image = await client.images.get("r.example/five:latest")
        assert image.target.annotations == {"org.opencontainers.image.ref.name": "latest"}
        await client.content.label(image.target.digest, {source: "five"})
        await taken_in(other, await given_out(client, ImageStore(name=image.name)), named("r.example/five"))
        assert (await other.images.get(image.name)).target.annotations == {
            "io.containerd.image.name": image.name,
            "org.opencontainers.image.ref.name": "latest",
            source: "five",
        }


async def test_the_index_of_an_archive_is_an_image_too_that_the_others_go_with(daemon: Daemon, archive: Path) -> None:
    """As containerd 2.x stores it: `--index-name`."""
    async with Client(daemon.address, "index") as client:
        store = ImageStore(name="x.example/all:1", extra_references=named("r.example/five").extra_references)
        await taken_in(client, archive.read_bytes(), store)
        whole, one = await client.images.get("x.example/all:1"), await client.images.get("r.example/five:latest")
        assert json.loads(await client.content.read_all(whole.target.digest, 1 << 20))["manifests"][0]["digest"] == (
            one.target.digest
        )
        assert one.labels["containerd.io/gc.bref.image"] == "x.example/all:1"
        await client.images.delete("x.example/all:1", sync=True)
        assert await client.images.list() == []
        assert [info.digest async for info in client.content.walk()] == []


async def test_layers_of_a_docker_archive_are_compressed_if_asked(
    daemon: Daemon, archive: Path, tmp_path: Path
) -> None:
    target = tmp_path / "docker.tar"
    argv = ["skopeo", "copy", "-q", f"oci-archive:{archive}", f"docker-archive:{target}:r.example/docker:v1"]
    await asyncio.to_thread(subprocess.run, argv, check=True)
    async with Client(daemon.address, "compress") as client:
        await taken_in(client, target.read_bytes(), named("any", allow_overwrite=True), force_compress=True)
        found = await resolve(client, await client.images.get("r.example/docker:v1"))
        for layer, diff_id in zip(found.manifest.layers, found.config.diff_ids, strict=True):
            assert layer.media_type == "application/vnd.docker.image.rootfs.diff.tar.gzip"
            plain = gzip.decompress(await client.content.read_all(layer.digest, 1 << 24))
            assert f"sha256:{hashlib.sha256(plain).hexdigest()}" == diff_id


async def test_docker_archives(daemon: Daemon, archive: Path, tmp_path: Path) -> None:
    target = tmp_path / "docker.tar"
    argv = ["skopeo", "copy", "-q", f"oci-archive:{archive}", f"docker-archive:{target}:r.example/docker:v1"]
    await asyncio.to_thread(subprocess.run, argv, check=True)
    async with Client(daemon.address, "docker") as client:
        await taken_in(client, target.read_bytes(), named("any", allow_overwrite=True))
        assert [image.name for image in await client.images.list()] == ["r.example/docker:v1"]


async def test_what_does_not_go_in(daemon: Daemon, archive: Path) -> None:
    whole = archive.read_bytes()
    async with Client(daemon.address, "wrong") as client:
        for data, error, says in (
            (b"", InvalidArgument, "archive"),
            (whole[: len(whole) // 2], InvalidArgument, "cut off"),
            (b"no tar" * 1000, InvalidArgument, "not a tar archive"),
        ):
            with pytest.raises(error, match=says):
                await taken_in(client, data, named("x"))
        with pytest.raises(NotFound, match="gets a name"):
            await taken_in(client, whole, ImageStore())
        assert await client.images.list() == []
        assert [lease.id for lease in await client.leases.list()] == []
        assert await client.content.statuses() == []


async def test_what_does_not_go_out(daemon: Daemon, archive: Path) -> None:
    async with Client(daemon.address, "missing") as client:
        with pytest.raises(NotFound):
            await given_out(client, ImageStore(name="none"))
        await taken_in(client, archive.read_bytes(), named("x.example/a"))
        image = await resolve(client, await client.images.get("x.example/a:latest"))
        await client.content.delete(image.manifest.layers[0].digest)
        with pytest.raises(NotFound, match="is not in the content store"):
            await given_out(client, ImageStore(name="x.example/a:latest"))


async def test_a_client_that_goes_in_the_middle_leaves_nothing(daemon: Daemon, archive: Path) -> None:
    async with Client(daemon.address, "gone") as client:
        async with client.transfers.opened("import") as stream:
            moving = asyncio.create_task(client.transfers.run(ImageImportStream(stream=stream.id), named("x")))
            await stream.receive()
            await asyncio.sleep(0.2)
        with pytest.raises(CortenError):
            await asyncio.wait_for(moving, 20)
        assert await client.images.list() == []
        assert [lease.id for lease in await client.leases.list()] == []


async def test_imports_that_are_given_up_hold_nothing(daemon: Daemon, archive: Path) -> None:
    """More of them than there are threads to read archives, each with its stream left open."""
    async with Client(daemon.address, "given-up") as client, AsyncExitStack() as stack:
        for _ in range(10):
            stream = await stack.enter_async_context(client.transfers.opened("import"))
            moving = asyncio.ensure_future(client.transfers.run(ImageImportStream(stream=stream.id), named("x")))
            assert await stream.receive(), "the daemon asks for bytes"
            moving.cancel()
            await asyncio.wait([moving])
        await asyncio.wait_for(taken_in(client, archive.read_bytes(), named("y")), 30)
        assert [image.name for image in await client.images.list()] == ["y:latest"]
