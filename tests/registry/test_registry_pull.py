"""Pulling from Debian's docker-registry: what arrives, with which labels, resumed, logged in."""

import asyncio
import base64
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import images
import peers
import pytest
from corten import platforms, references
from corten.contracts.descriptor import Descriptor
from corten.errors import InvalidArgument, NotFound, Unauthenticated, Unavailable
from corten.oci_image import documents, media_types
from corten.oci_image.model import PulledImage
from corten.platforms import Platform
from corten.registry.client import RegistryClient
from corten.registry.credentials import Lookup, anonymous
from corten.registry.docker_config import docker_credentials
from corten.registry.progress import Progress, Show, State, ignore
from corten.registry.pull import pull
from corten.registry.retry import Retry
from corten.registry.sink import StoreSink
from corten.testing.content import MemoryContent

pytestmark = [pytest.mark.integration, pytest.mark.timeout(60)]
AMD64 = Platform("linux", "amd64")
QUICK = Retry(attempts=3, first=0.01, most=0.02)


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("registry")
    with peers.registry(folder / "registry") as address:
        layout = images.write_layout(folder / "five")
        images.push(layout, f"{address}/lib/five:v1")
        yield address


async def pulled(
    name: str,
    store: MemoryContent,
    platform: Platform = AMD64,
    show: Show = ignore,
    credentials: Lookup = anonymous,
) -> PulledImage:
    async with RegistryClient(retry=QUICK, credentials=credentials) as client:
        return await pull(client, references.parse(name), StoreSink(store), platform, progress=show)


async def test_everything_arrives_labelled_for_gc(registry: str) -> None:
    store = MemoryContent()
    image = await pulled(f"{registry}/lib/five:v1", store)
    assert image.name == f"{registry}/lib/five:v1"
    assert image.target == image.manifest
    assert len(image.layers) == len(image.diff_ids) == 5
    assert {info.digest for info in store.walk()} == {
        image.manifest.digest,
        image.config.digest,
        *(layer.digest for layer in image.layers),
    }
    labels = store.info(image.manifest.digest).labels
    assert labels["containerd.io/gc.ref.content.config"] == image.config.digest
    assert [labels[f"containerd.io/gc.ref.content.l.{n}"] for n in range(5)] == [layer.digest for layer in image.layers]
    assert all(info.labels["containerd.io/distribution.source.127.0.0.1"] == "lib/five" for info in store.walk())
    assert store.statuses() == []


async def test_a_second_pull_fetches_nothing(registry: str) -> None:
    store, seen = MemoryContent(), list[Progress]()
    await pulled(f"{registry}/lib/five:v1", store)
    image = await pulled(f"{registry}/lib/five:v1", store, show=seen.append)
    assert {progress.state for progress in seen} == {State.WAITING, State.EXISTS}
    assert len(image.layers) == 5


async def test_progress_runs_to_the_end_of_each_blob(registry: str) -> None:
    seen = list[Progress]()
    image = await pulled(f"{registry}/lib/five:v1", MemoryContent(), show=seen.append)
    last = {progress.digest: progress for progress in seen}
    assert {progress.state for progress in last.values()} == {State.DONE}
    assert all(progress.offset == progress.total for progress in last.values())
    assert last[image.layers[0].digest].kind == "layer"


@pytest.mark.parametrize("start", [b"", b"right", b"wrong", b"too long"])
async def test_what_an_earlier_pull_left_is_used_if_it_is_right(registry: str, start: bytes) -> None:
    store = MemoryContent()
    first = await pulled(f"{registry}/lib/five:v1", MemoryContent())
    layer = max(first.layers, key=lambda layer: layer.size)
    whole = MemoryContent()
    await pulled(f"{registry}/lib/five:v1", whole)
    data = whole.data(layer.digest)
    left = {b"right": data[: len(data) // 2], b"wrong": b"x" * 1000, b"too long": data + b"more"}.get(start, start)
    with store.writer(media_types.ref_key(layer.media_type, layer.digest), expected=layer.digest) as writer:
        writer.write(left)
    seen = list[Progress]()
    await pulled(f"{registry}/lib/five:v1", store, show=seen.append)
    offsets = [progress.offset for progress in seen if progress.digest == layer.digest]
    assert store.data(layer.digest) == data
    assert (len(data) // 2 in offsets) == (start == b"right")


async def test_two_pulls_of_one_image_at_once(registry: str) -> None:
    store = MemoryContent()
    both = await asyncio.gather(*(pulled(f"{registry}/lib/five:v1", store) for _ in range(2)))
    assert both[0] == both[1]
    assert len(list(store.walk())) == 7


async def test_a_cancelled_pull_frees_its_refs_and_can_be_resumed(registry: str) -> None:
    store = MemoryContent()
    begun = asyncio.Event()
    task = asyncio.create_task(pulled(f"{registry}/lib/five:v1", store, show=lambda _: begun.set()))
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert len((await pulled(f"{registry}/lib/five:v1", store)).layers) == 5
    assert store.statuses() == []


async def test_by_digest(registry: str) -> None:
    store = MemoryContent()
    image = await pulled(f"{registry}/lib/five:v1", store)
    again = await pulled(f"{registry}/lib/five@{image.target.digest}", MemoryContent())
    assert again.target == image.target


async def test_what_is_not_there(registry: str) -> None:
    for name in ("lib/five:v2", "lib/none:v1", f"lib/five@sha256:{'0' * 64}"):
        with pytest.raises(NotFound, match="not found there"):
            await pulled(f"{registry}/{name}", MemoryContent())
    with pytest.raises(NotFound, match=r"only for: linux/amd64"):
        await pulled(f"{registry}/lib/five:v1", MemoryContent(), Platform("linux", "s390x"))


async def test_a_registry_that_does_not_listen() -> None:
    with pytest.raises(Unavailable, match="cannot reach registry"):
        await pulled(f"127.0.0.1:{peers.free_port()}/a:b", MemoryContent())


def _index(folder: Path) -> tuple[dict[str, str], Path]:
    """An index of two images and an attestation, in a layout; the manifests by platform."""
    layout = images.write_layout(folder)
    index = json.loads((layout / "index.json").read_text())
    amd64 = index["manifests"][0]
    helper = images.Layout.__new__(images.Layout)
    helper.folder = layout
    other = json.loads((layout / "blobs/sha256" / amd64["digest"].removeprefix("sha256:")).read_text())
    config = json.loads((layout / "blobs/sha256" / other["config"]["digest"].removeprefix("sha256:")).read_text())
    other["config"] = helper.json({**config, "architecture": "arm64"}, media_types.OCI_CONFIG)
    arm64 = helper.json(other, media_types.OCI_MANIFEST)
    attestation = {**arm64, "annotations": {"vnd.docker.reference.type": "attestation-manifest"}}
    entries = [
        {**attestation, "platform": {"os": "unknown", "architecture": "unknown"}},
        {**arm64, "platform": {"os": "linux", "architecture": "arm64", "variant": "v8"}},
        {**amd64, "platform": {"os": "linux", "architecture": "amd64"}},
    ]
    document = {"schemaVersion": 2, "mediaType": media_types.OCI_INDEX, "manifests": entries}
    top = helper.json(document, media_types.OCI_INDEX)
    top["annotations"] = {"org.opencontainers.image.ref.name": "latest"}
    (layout / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [top]}))
    return {"arm64": arm64["digest"], "amd64": amd64["digest"]}, layout


def _push_all(layout: Path, name: str) -> None:
    argv = ["skopeo", "copy", "-q", "--all", "--dest-tls-verify=false", f"oci:{layout}:latest", f"docker://{name}"]
    subprocess.run(argv, check=True)


async def test_an_index_gives_the_image_for_the_platform(registry: str, tmp_path: Path) -> None:
    manifests, layout = _index(tmp_path / "index")
    await asyncio.to_thread(_push_all, layout, f"{registry}/lib/both:v1")
    for architecture, digest in manifests.items():
        store = MemoryContent()
        image = await pulled(f"{registry}/lib/both:v1", store, platforms.parse(f"linux/{architecture}"))
        assert (image.manifest.digest, image.target.media_type) == (digest, media_types.OCI_INDEX)
        labels = store.info(image.target.digest).labels
        assert {labels[f"containerd.io/gc.ref.content.m.{n}"] for n in range(3)} == set(manifests.values())
    with pytest.raises(NotFound, match="linux/arm64, linux/amd64"):
        await pulled(f"{registry}/lib/both:v1", MemoryContent(), Platform("linux", "riscv64"))


async def test_an_artifact_is_no_image(registry: str, tmp_path: Path) -> None:
    layout = images.Layout(tmp_path / "artifact")
    config = layout.blob(b"{}", "application/vnd.example.thing+json")
    manifest = {"schemaVersion": 2, "mediaType": media_types.OCI_MANIFEST, "config": config, "layers": [config]}
    target = layout.json(manifest, media_types.OCI_MANIFEST)
    target["annotations"] = {"org.opencontainers.image.ref.name": "latest"}
    (layout.folder / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [target]}))
    images.push(layout.folder, f"{registry}/lib/artifact:v1")
    with pytest.raises(InvalidArgument, match="not a container image"):
        await pulled(f"{registry}/lib/artifact:v1", MemoryContent())


@pytest.fixture(scope="module")
def locked_registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """docker-registry that wants user `ann` and password `secret`."""
    folder = tmp_path_factory.mktemp("locked")
    script = 'print "ann:" . crypt("secret", "\\$2y\\$04\\$abcdefghijklmnopqrstuu")'
    (folder / "htpasswd").write_bytes(subprocess.run(["perl", "-e", script], capture_output=True, check=True).stdout)
    port = peers.free_port()
    (folder / "registry.yml").write_text(
        f"version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {folder}/data}}}}\n"
        f"http: {{addr: 127.0.0.1:{port}}}\nauth: {{htpasswd: {{realm: r, path: {folder}/htpasswd}}}}\n"
    )
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(["docker-registry", "serve", str(folder / "registry.yml")], stdout=log, stderr=log)
        try:
            peers.wait_until(lambda: peers.listening(port), "docker-registry listens")
            layout = images.write_layout(folder / "layout")
            argv = ["skopeo", "copy", "-q", "--dest-tls-verify=false", "--dest-creds=ann:secret"]
            subprocess.run([*argv, f"oci:{layout}:latest", f"docker://127.0.0.1:{port}/private:v1"], check=True)
            yield f"127.0.0.1:{port}"
        finally:
            peers.stop(process)


async def test_basic_login_from_the_docker_config(locked_registry: str, tmp_path: Path) -> None:
    name = f"{locked_registry}/private:v1"
    with pytest.raises(Unauthenticated, match="wants a login"):
        await pulled(name, MemoryContent())
    for password, works in (("secret", True), ("wrong", False)):
        config = tmp_path / "config.json"
        auth = base64.b64encode(f"ann:{password}".encode()).decode()
        config.write_text(json.dumps({"auths": {locked_registry: {"auth": auth}}}))
        if works:
            assert len((await pulled(name, MemoryContent(), credentials=docker_credentials(config))).layers) == 5
        else:
            with pytest.raises(Unauthenticated):
                await pulled(name, MemoryContent(), credentials=docker_credentials(config))


def test_documents_of_the_pulled_image_parse(registry: str) -> None:
    store = MemoryContent()
    image = asyncio.run(pulled(f"{registry}/lib/five:v1", store))
    config = documents.config(store.data(image.config.digest), "config")
    assert config.platform == AMD64
    assert config.execution["Cmd"] == ["sh"]
    assert isinstance(image.target, Descriptor)
