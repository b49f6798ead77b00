"""Import of archives, of images made here and by skopeo, honest and hostile; making images is reproducible."""

import bz2
import gzip
import io
import json
import lzma
import os
import subprocess
import tarfile
import zlib
from collections.abc import Mapping
from pathlib import Path

import images
import pytest
import zstandard
from corten import digests, platforms
from corten.errors import CortenError, DataLoss, InvalidArgument, ResourceExhausted
from corten.oci_image import busybox, documents, media_types
from corten.oci_image.build import File, Image, build, directory, layer, symlink, tree, write_archive
from corten.oci_image.model import ImportedImage
from corten.registry.archive import import_archive
from corten.registry.sink import StoreSink
from corten.registry.tarstream import Readable
from corten.testing.content import MemoryContent
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

pytestmark = pytest.mark.timeout(120)
IMAGE = build("example.org/tiny:1", [layer([File("a", b"a")]), layer([directory("d"), File("d/b", b"b")])],
              platforms.host(), {"Cmd": ["x"]})  # fmt: skip


def archive_of(image: Image) -> bytes:
    buffer = io.BytesIO()
    write_archive(image, buffer)
    return buffer.getvalue()


def tar(members: Mapping[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, data in members.items():
            images.file(archive, name, data)
    return buffer.getvalue()


async def imported(data: bytes, store: MemoryContent | None = None, name: str = "") -> list[ImportedImage]:
    return await import_archive(io.BytesIO(data), StoreSink(store or MemoryContent()), name=name)


def joined(data: bytes) -> bytes:
    """Two streams of xz, as parallel compressors write them."""
    return lzma.compress(data[:1000]) + lzma.compress(data[1000:])


async def test_what_would_take_much_memory_to_undo() -> None:
    data = bytearray(lzma.compress(archive_of(IMAGE)))
    # The size of the dictionary is a byte of the block header (xz file format, 5.3.1), which a CRC32 ends.
    size = (data[12] + 1) * 4
    at = data.index(b"\x21\x01", 12) + 2
    data[at] = 37  # 1.5 GiB
    data[12 + size - 4 : 12 + size] = zlib.crc32(data[12 : 12 + size - 4]).to_bytes(4, "little")
    with pytest.raises(InvalidArgument, match=r"[Mm]emory"):
        await imported(bytes(data))


@pytest.mark.parametrize("pack", [bytes, gzip.compress, zstandard.compress, bz2.compress, lzma.compress, joined])
async def test_oci_layout(pack: "type[bytes]") -> None:
    store = MemoryContent()
    found = await imported(pack(archive_of(IMAGE)), store)
    assert [(image.name, image.target.digest) for image in found] == [("example.org/tiny:1", IMAGE.target.digest)]
    assert {info.digest: store.data(info.digest) for info in store.walk()} == IMAGE.blobs
    manifest = documents.manifest(IMAGE.blobs[IMAGE.target.digest], media_types.OCI_MANIFEST, "it")
    assert store.info(IMAGE.target.digest).labels == {
        "containerd.io/gc.ref.content.config": manifest.config.digest,
        "containerd.io/gc.ref.content.l.0": manifest.layers[0].digest,
        "containerd.io/gc.ref.content.l.1": manifest.layers[1].digest,
    }
    assert store.statuses() == []


async def test_importing_twice_changes_nothing() -> None:
    store = MemoryContent()
    assert await imported(archive_of(IMAGE), store) == await imported(archive_of(IMAGE), store)
    assert len(list(store.walk())) == len(IMAGE.blobs)


async def test_import_from_a_pipe() -> None:
    read, write = os.pipe()
    with open(read, "rb", buffering=0) as source:
        data = archive_of(IMAGE)
        assert len(data) < 65536
        with open(write, "wb") as sink:
            sink.write(data)
        assert len(await import_archive(source, StoreSink(MemoryContent()))) == 1


@pytest.fixture(scope="module")
def docker_archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("docker")
    layout = images.write_layout(folder / "five")
    target = folder / "saved.tar"
    argv = ["skopeo", "copy", "-q", f"oci:{layout}:latest", f"docker-archive:{target}:example.org/five:v1"]
    subprocess.run(argv, check=True)
    return target


async def test_docker_archive_by_skopeo(docker_archive: Path) -> None:
    store = MemoryContent()
    (image,) = await imported(docker_archive.read_bytes(), store)
    assert (image.name, image.target.media_type) == ("example.org/five:v1", media_types.DOCKER_MANIFEST)
    manifest = documents.manifest(store.data(image.target.digest), image.target.media_type, "it")
    config = documents.config(store.data(manifest.config.digest), "config")
    assert [layer.digest for layer in manifest.layers] == list(config.diff_ids)
    assert {layer.media_type for layer in manifest.layers} == {media_types.DOCKER_LAYER}
    assert len(store.info(image.target.digest).labels) == 6
    assert await imported(docker_archive.read_bytes(), store) == [image]


async def test_docker_archive_with_links_and_without_name() -> None:
    plain = layer([File("a", b"a")], compressed=False)
    config = documents.dump({"os": "linux", "architecture": "amd64", "rootfs": {"diff_ids": [plain.diff_id] * 2}})
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        images.file(archive, "one/layer.tar", plain.data)
        images.link(archive, "two/layer.tar", "../one/layer.tar")
        images.file(archive, "c.json", config)
        images.file(archive, "index.json", b"not that of a layout, which has a file oci-layout too")
        layers = ["one/layer.tar", "two/layer.tar"]
        images.file(archive, "manifest.json", json.dumps([{"Config": "c.json", "Layers": layers}]).encode())
    with pytest.raises(InvalidArgument, match="no name"):
        await imported(buffer.getvalue())
    (image,) = await imported(buffer.getvalue(), name="mine")
    assert image.name == "docker.io/library/mine:latest"


async def test_names_from_tags(tmp_path: Path) -> None:
    layout = images.write_layout(tmp_path / "layout", name="v7")
    data = tar({str(path.relative_to(layout)): path.read_bytes() for path in layout.rglob("*") if path.is_file()})
    with pytest.raises(InvalidArgument, match="--name"):
        await imported(data)
    assert [image.name for image in await imported(data, name="me/it")] == ["docker.io/me/it:v7"]
    assert [image.name for image in await imported(data, name="me/it:v8")] == ["docker.io/me/it:v8"]


async def test_a_made_image_is_one_for_skopeo(tmp_path: Path) -> None:
    (tmp_path / "image.tar").write_bytes(archive_of(IMAGE))
    argv = ["skopeo", "inspect", f"oci-archive:{tmp_path}/image.tar"]
    said = subprocess.run(argv, capture_output=True, check=True)  # noqa: ASYNC221
    assert json.loads(said.stdout)["Digest"] == IMAGE.target.digest


def test_the_same_files_make_the_same_image(tmp_path: Path) -> None:
    for name in ("one", "two"):
        folder = tmp_path / name
        (folder / "d").mkdir(parents=True)
        (folder / "d/f").write_text("f")
        (folder / "s").symlink_to("d/f")
    os.utime(tmp_path / "two/d/f", (1, 1))
    one, two = (layer(reversed(tree(tmp_path / name))) for name in ("one", "two"))
    assert one == two
    assert one == layer(
        [File("d/f", b"f", (tmp_path / "one/d/f").stat().st_mode & 0o777), directory("d"), symlink("s", "d/f")]
    )
    os.mkfifo(tmp_path / "one/pipe")
    with pytest.raises(InvalidArgument, match="pipe"):
        tree(tmp_path / "one")


def test_busybox_image(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    outputs = [tmp_path / "1.tar", tmp_path / "2.tar"]
    for output in outputs:
        assert busybox.main(["--output", str(output)]) == 0
    assert outputs[0].read_bytes() == outputs[1].read_bytes()
    assert busybox.main(["--busybox", "/bin/ls", "--output", str(outputs[0])]) == 1
    assert "busybox-static" in capsys.readouterr().err
    for program in (b"", b"#!/bin/sh\n", b"\x7fELF\x02\x01", b"\x7fELF\x02\x01" + bytes(58)[:34] + b"\xff" * 24):
        try:
            busybox.is_dynamic(program)
        except InvalidArgument:
            pass


async def failed(data: bytes, error: type[CortenError], says: str) -> None:
    store = MemoryContent()
    with pytest.raises(error, match=says):
        await imported(data, store, name="it")
    assert all(digests.of(store.data(info.digest)) == info.digest for info in store.walk())


INDEX = b'{"schemaVersion":2,"manifests":[]}'
BLOB = f"blobs/sha256/{digests.of(b'right').removeprefix('sha256:')}"


@pytest.mark.parametrize(
    ("data", "error", "says"),
    [
        (b"", InvalidArgument, "archive"),
        (b"not a tar archive" * 100, InvalidArgument, "archive"),
        (b"\x1f\x8b" + b"x" * 1000, InvalidArgument, "archive"),
        (gzip.compress(archive_of(IMAGE), mtime=0)[:-200], InvalidArgument, "archive"),
        (b"\x28\xb5\x2f\xfd" + b"x" * 1000, InvalidArgument, "archive"),
        (tar({}), InvalidArgument, "neither index.json nor manifest.json"),
        (tar({"index.json": b"{"}), InvalidArgument, "not JSON"),
        (tar({"index.json": b"[" * 100000}), InvalidArgument, "not JSON"),
        (tar({"index.json": INDEX}), InvalidArgument, "names no image"),
        (tar({"index.json": b" " * (documents.MAX_SIZE + 1)}), ResourceExhausted, "larger"),
        (tar({BLOB: b"wrong", "index.json": INDEX}), DataLoss, "not what its name says"),
        (tar({"blobs/sha256/..": b"x", "blobs/sha256/zz": b"x"}), InvalidArgument, "digest"),
        (tar({"index.json": INDEX, "oci-layout": b'{"imageLayoutVersion":"2"}'}), InvalidArgument, r"only 1\.0\.0"),
        (tar({"manifest.json": b"{}"}), InvalidArgument, "not a list"),
        (tar({"manifest.json": b"[1]"}), InvalidArgument, "not a list"),
        (tar({"manifest.json": b'[{"Config":7}]'}), InvalidArgument, "no config"),
        (tar({"manifest.json": b'[{"Config":"../../etc/passwd"}]'}), InvalidArgument, "no such member"),
        (tar({"c": b"{}", "manifest.json": b'[{"Config":"c","Layers":["x"]}]'}), InvalidArgument, "no such member"),
        (tar({"c": b"{}", "manifest.json": b'[{"Config":"c","Layers":["c"]}]'}), InvalidArgument, "diff ids"),
        (tar({"c": b"[]", "manifest.json": b'[{"Config":"c","Layers":[]}]'}), InvalidArgument, "not a JSON object"),
    ],
)
async def test_hostile_archives(data: bytes, error: type[CortenError], says: str) -> None:
    await failed(data, error, says)


async def test_missing_layer_is_named() -> None:
    blobs = {digest: data for digest, data in IMAGE.blobs.items() if len(data) > 200}
    await failed(archive_of(Image(IMAGE.name, IMAGE.target, blobs)), InvalidArgument, "is missing")


@pytest.mark.parametrize("end", [100, 512, 600, 1024, 1100, 3000])
async def test_cut_off_archives(end: int) -> None:
    data = archive_of(IMAGE)
    with pytest.raises(InvalidArgument):
        await imported(data[:end])


class Huge:
    """An endless stream behind a header that claims gigabytes; counts what was taken of it."""

    def __init__(self, kind: bytes) -> None:
        info = tarfile.TarInfo("long")
        info.type, info.size = kind, 1 << 35
        self.head = info.tobuf(tarfile.GNU_FORMAT)
        self.taken = 0

    def read(self, size: int = -1, /) -> bytes:
        assert size >= 0
        self.taken += size
        data, self.head = (self.head + bytes(size))[:size], self.head[size:]
        return data


@pytest.mark.parametrize("kind", [tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK, tarfile.XHDTYPE, tarfile.XGLTYPE])
async def test_headers_that_claim_gigabytes(kind: bytes) -> None:
    stream: Readable = Huge(kind)
    with pytest.raises(ResourceExhausted, match="header"):
        await import_archive(stream, StoreSink(MemoryContent()))
    assert isinstance(stream, Huge)
    assert stream.taken < 1 << 20


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
async def test_damaged_archives_never_raise_anything_foreign(data: st.DataObject) -> None:
    archive = bytearray(archive_of(IMAGE))
    for _ in range(data.draw(st.integers(1, 8))):
        archive[data.draw(st.integers(0, len(archive) - 1))] = data.draw(st.integers(0, 255))
    store = MemoryContent()
    try:
        await imported(bytes(archive), store, name="it")
    except CortenError:
        pass
    assert all(digests.of(store.data(info.digest)) == info.digest for info in store.walk())
