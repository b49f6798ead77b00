"""Images written otherwise: the same files, other media types and digests, read by skopeo and runc alike."""

import asyncio
import gzip
import hashlib
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import images
import peers
import pytest
import zstandard
from corten.client.client import Client
from corten.client.convert import convert
from corten.client.image import resolve
from corten.client.image_tree import tree
from corten.client.pull import PullOptions, pull
from corten.errors import InvalidArgument, NotFound
from corten.oci_image import conversion
from corten.platforms import Platform
from daemon import Daemon, running_daemon

pytestmark = [pytest.mark.integration, pytest.mark.timeout(90)]
OCI = "application/vnd.oci.image.layer.v1.tar"
DOCKER = "application/vnd.docker.image.rootfs.diff.tar"


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The five-layer image, the same with docker's media types, and one for two platforms."""
    folder = tmp_path_factory.mktemp("registry")
    with peers.registry(folder / "registry") as address:
        layout = images.write_layout(folder / "five")
        images.push(layout, f"{address}/lib/five:v1")
        argv = ["skopeo", "copy", "-q", "--format=v2s2", "--dest-tls-verify=false", f"oci:{layout}:latest"]
        subprocess.run([*argv, f"docker://{address}/lib/docker:v1"], check=True)
        yield address


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    with running_daemon() as running:
        yield running


def plain(data: bytes, media_type: str) -> bytes:
    if media_type.endswith("gzip"):
        return gzip.decompress(data)
    return zstandard.ZstdDecompressor().stream_reader(data).read() if media_type.endswith("zstd") else data


@pytest.mark.parametrize(
    ("source", "compression", "oci", "media_type"),
    [
        ("five", "zstd", False, f"{OCI}+zstd"),
        ("five", "none", False, OCI),
        ("five", "", True, f"{OCI}+gzip"),
        ("docker", "zstd", False, f"{OCI}+zstd"),
        ("docker", "none", False, DOCKER),
        ("docker", "gzip", True, f"{OCI}+gzip"),
    ],
)
async def test_the_same_files_otherwise(
    daemon: Daemon, registry: str, source: str, compression: str, oci: bool, media_type: str
) -> None:
    name, made = f"{registry}/lib/{source}:v1", f"made.example/{source}{compression}:{int(oci)}"
    async with Client(daemon.address, "default") as client:
        await pull(client, name, PullOptions(snapshotter=""))
        await convert(client, name, made, compression=compression, oci=oci)
        before = await resolve(client, await client.images.get(name))
        after = await resolve(client, await client.images.get(made))
        assert {layer.media_type for layer in after.manifest.layers} == {media_type}
        assert after.config == before.config
        for layer, diff_id in zip(after.manifest.layers, after.config.diff_ids, strict=True):
            data = await client.content.read_all(layer.digest, 1 << 24)
            assert f"sha256:{hashlib.sha256(plain(data, media_type)).hexdigest()}" == diff_id
        assert not (await tree(client, await client.images.get(made))).missing
    ran = await asyncio.to_thread(daemon.corten, "run", "--rm", made, "cat", "/data/changed")
    assert ran.stdout == "second", ran.stderr
    pushed = await asyncio.to_thread(daemon.corten, "push", made, f"{registry}/made/{source}{compression}:{int(oci)}")
    argv = ["skopeo", "inspect", "--tls-verify=false", "--raw", f"docker://{pushed.stdout.strip()}"]
    raw = await asyncio.to_thread(subprocess.run, argv, check=True, capture_output=True)
    assert f"sha256:{hashlib.sha256(raw.stdout).hexdigest()}" == after.target.digest
    assert json.loads(raw.stdout)["config"]["mediaType"] == after.manifest.config.media_type


async def test_there_and_back_again_is_the_same_image(daemon: Daemon, registry: str) -> None:
    name = f"{registry}/lib/five:v1"
    async with Client(daemon.address, "back") as client:
        await pull(client, name, PullOptions(snapshotter=""))
        first = await convert(client, name, "a.example/none:1", compression="none")
        second = await convert(client, first.name, "a.example/gzip:1", compression="gzip")
        third = await convert(client, second.name, "a.example/none:2", compression="none")
        again = await convert(client, first.name, "a.example/gzip:2", compression="gzip")
        assert third.target == first.target
        assert again.target == second.target
        same = await convert(client, name, "a.example/same:1", compression="gzip")
        assert same.target == (await client.images.get(name)).target, "nothing to change"


async def test_one_platform_of_several_and_attestations_left_aside(
    daemon: Daemon, registry: str, tmp_path: Path
) -> None:
    archive = tmp_path / "several.tar"
    await asyncio.to_thread(write_several, tmp_path / "layout", archive)
    said = await asyncio.to_thread(daemon.corten, "import", "--name", "several.example/s:1", str(archive))
    assert said.returncode == 0, said.stderr
    async with Client(daemon.address, "default") as client:
        whole = await tree(client, await client.images.get("several.example/s:1"))
        assert [node.kind for node in whole.children] == ["manifest", "manifest", "attestation"]
        await convert(client, "several.example/s:1", "several.example/all:1", compression="none")
        both = await tree(client, await client.images.get("several.example/all:1"))
        assert [str(node.platform) for node in both.children] == ["linux/amd64", "linux/arm64"]
        arm = Platform("linux", "arm64")
        await convert(client, "several.example/s:1", "several.example/arm:1", compression="zstd", platforms=[arm])
        one = await tree(client, await client.images.get("several.example/arm:1"))
        assert [str(node.platform) for node in one.children] == ["linux/arm64"]
        assert one.missing == both.missing == []
        with pytest.raises(NotFound, match="linux/s390x, only for: linux/amd64, linux/arm64"):
            await convert(
                client, "several.example/s:1", "x.example/x:1", oci=True, platforms=[Platform("linux", "s390x")]
            )


def write_several(folder: Path, archive: Path) -> None:
    layout, entries = images.Layout(folder), []
    for architecture in ("amd64", "arm64"):
        tar = images.tar_of(lambda tar, name=architecture: images.file(tar, name, name.encode()))  # type: ignore[misc]
        layer = layout.blob(gzip.compress(tar, mtime=0), f"{OCI}+gzip")
        rootfs = {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(tar).hexdigest()}"]}
        config = layout.json(
            {"architecture": architecture, "os": "linux", "rootfs": rootfs}, "application/vnd.oci.image.config.v1+json"
        )
        entries.append(manifest(layout, config, layer) | {"platform": {"os": "linux", "architecture": architecture}})
    statement = layout.blob(b"{}", "application/vnd.in-toto+json")
    config = layout.json({"architecture": "unknown", "os": "unknown"}, "application/vnd.oci.image.config.v1+json")
    notes = {
        "vnd.docker.reference.type": "attestation-manifest",
        "vnd.docker.reference.digest": entries[0]["digest"],
    }
    unknown = {"platform": {"os": "unknown", "architecture": "unknown"}, "annotations": notes}
    entries.append(manifest(layout, config, statement) | unknown)
    index = {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": entries}
    target = layout.json(index, "application/vnd.oci.image.index.v1+json")
    (folder / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [target]}))
    subprocess.run(["tar", "-C", str(folder), "-cf", str(archive), "."], check=True)


def manifest(layout: images.Layout, config: dict[str, object], layer: dict[str, object]) -> dict[str, object]:
    media_type = "application/vnd.oci.image.manifest.v1+json"
    document = {"schemaVersion": 2, "mediaType": media_type, "config": config, "layers": [layer]}
    return layout.json(document, media_type)


async def test_what_cannot_be_converted(daemon: Daemon, registry: str) -> None:
    name = f"{registry}/lib/five:v1"
    async with Client(daemon.address, "cannot") as client:
        await pull(client, name, PullOptions(snapshotter=""))
        image = await resolve(client, await client.images.get(name))
        with pytest.raises(InvalidArgument, match="no compression 'lzma'"):
            await convert(client, name, "x.example/x:1", compression="lzma")
        with pytest.raises(NotFound, match="there is no such image"):
            await convert(client, "none", "x.example/x:1", compression="zstd")
        await client.content.delete(image.manifest.layers[1].digest)
        with pytest.raises(NotFound, match=f"layer {image.manifest.layers[1].digest}: it is not in the content store"):
            await convert(client, name, "x.example/x:1", compression="zstd")
        assert [image.name for image in await client.images.list()] == [name]
        assert [lease.id for lease in await client.leases.list()] == []
        assert await client.content.statuses() == []


@pytest.mark.parametrize(
    ("docker", "oci"),
    [
        (DOCKER, OCI),
        (f"{DOCKER}.gzip", f"{OCI}+gzip"),
        (f"{DOCKER}.zstd", f"{OCI}+zstd"),
        (
            "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
            "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
        ),
        ("application/vnd.docker.container.image.v1+json", "application/vnd.oci.image.config.v1+json"),
        (f"{OCI}+zstd", f"{OCI}+zstd"),
        ("text/plain", "text/plain"),
    ],
)
def test_media_types(docker: str, oci: str) -> None:
    assert conversion.oci(docker) == oci
