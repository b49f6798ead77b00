"""buildah, podman and Corten: what one builds the others mount, file by file; the same digests both ways."""

import asyncio
import gzip
import hashlib
import json
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import images
import odd_trees
import peers
import pytest
from corten.client.client import Client
from corten.client.image import resolve
from corten.client.pull import PullOptions, pull
from corten.linux.mount import temporary_mount
from corten.testing.trees import describe
from daemon import Daemon, running_daemon

pytestmark = [
    pytest.mark.integration,
    pytest.mark.timeout(120),
    pytest.mark.skipif(not shutil.which("buildah"), reason="buildah is not installed"),
]
Tree = dict[str, tuple[object, ...]]
LAYER = "application/vnd.oci.image.layer.v1.tar"


@dataclass(frozen=True)
class Buildah:
    """The command, on folders of its own; `podman` with the same images."""

    folder: Path

    def __call__(self, *args: object, program: str = "buildah") -> str:
        own = ("--root", self.folder / "root", "--runroot", self.folder / "run", "--storage-driver", "overlay")
        argv = [program, *map(str, (*own, *args))]
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{argv}: {done.stderr}"
        return done.stdout.strip()

    def commit(self, container: str, name: str, *args: str) -> None:
        self("commit", "-q", *args, container, name)
        self("rm", container)

    @contextmanager
    def mounted(self, image: str) -> Iterator[Path]:
        container = self("from", "--pull-never", image)
        try:
            yield Path(self("mount", container))
        finally:
            self("rm", container)

    def describe(self, image: str) -> Tree:
        with self.mounted(image) as tree:
            return without_root(describe(tree))


def without_root(tree: Tree) -> Tree:
    """buildah gives the root of a container a mode of its own."""
    return {name: about for name, about in tree.items() if name != "."}


@pytest.fixture(scope="module")
def buildah() -> Iterator[Buildah]:
    """With `odd:1`, of one layer and busybox, and `odd:2`, of two and an empty one."""
    made = Buildah(Path(tempfile.mkdtemp(prefix="cbuildah-", dir="/tmp")))  # podman takes no long names
    try:
        container = made("from", "scratch")
        tree = Path(made("mount", container))
        (tree / "bin").mkdir()
        shutil.copy(images.BUSYBOX, tree / "bin/busybox")
        (tree / "bin/cat").symlink_to("busybox")
        odd_trees.first(tree)
        made("config", "--env", "PATH=/bin", "--cmd", "cat /leaf", container)
        made.commit(container, "odd:1")
        container = made("from", "odd:1")
        odd_trees.second(Path(made("mount", container)))
        made.commit(container, "odd:two")
        container = made("from", "odd:two")
        made("config", "--label", "only=this", container)
        made.commit(container, "odd:2")
        yield made
    finally:
        peers.unmount_below(made.folder)
        shutil.rmtree(made.folder)


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    with running_daemon() as running:
        yield running


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with peers.registry(tmp_path_factory.mktemp("registry")) as address:
        yield address


def corten(daemon: Daemon, namespace: str, *args: object) -> str:
    done = daemon.corten(*map(str, args), namespace=namespace)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def mounted(daemon: Daemon, namespace: str, image: str, at: Path, *args: str) -> Tree:
    """The files of an image as Corten unpacked them."""
    at.mkdir(exist_ok=True)
    corten(daemon, namespace, "image", "mount", *args, image, at)
    try:
        return without_root(describe(at))
    finally:
        corten(daemon, namespace, "image", "unmount", at)


def pushed(buildah: Buildah, image: str, to: str, *args: str) -> str:
    """Push an image; its digest."""
    file = buildah.folder / "digest"
    buildah("push", "-q", "--tls-verify=false", "--digestfile", file, *args, image, f"docker://{to}")
    return file.read_text()


def manifest(reference: str) -> dict[str, Any]:
    argv = ["skopeo", "inspect", "--tls-verify=false", "--raw", f"docker://{reference}"]
    found: dict[str, Any] = json.loads(subprocess.run(argv, capture_output=True, check=True).stdout)
    return found


@pytest.mark.parametrize("snapshotter", ["overlayfs", "native"])
def test_what_buildah_builds_is_unpacked_file_by_file(
    buildah: Buildah, daemon: Daemon, registry: str, tmp_path: Path, snapshotter: str
) -> None:
    wanted, name = buildah.describe("odd:2"), f"{registry}/odd:{snapshotter}"
    digest = pushed(buildah, "odd:2", name)
    assert corten(daemon, snapshotter, "pull", "--snapshotter", snapshotter, name) == f"{name} {digest}"
    assert mounted(daemon, snapshotter, name, tmp_path / "m", "--snapshotter", snapshotter) == wanted


def test_podman_loads_and_buildah_takes_what_corten_exports(
    buildah: Buildah, daemon: Daemon, registry: str, tmp_path: Path
) -> None:
    name, archive = f"{registry}/archives:1", tmp_path / "out.tar"
    digest, id = pushed(buildah, "odd:2", name), buildah("inspect", "--format", "{{.FromImageID}}", "odd:2")
    corten(daemon, "out", "pull", name)
    corten(daemon, "out", "image", "convert", "--compression", "zstd", name, f"{registry}/archives:zstd")
    corten(daemon, "out", "export", archive, name, f"{registry}/archives:zstd")
    for source in (f"oci-archive:{archive}:1", f"docker-archive:{archive}:{name}", f"oci-archive:{archive}:zstd"):
        buildah("rmi", "-f", id)
        assert buildah("pull", "-q", source) == id
        assert buildah("inspect", "--format", "{{.FromImageID}}", id) == id
    assert corten(daemon, "in", "import", archive).splitlines()[0] == f"{name} {digest}"
    if shutil.which("podman"):
        buildah("rmi", "-f", id)
        own = ("--tmpdir", buildah.folder / "podman", "--events-backend=none", "--cgroup-manager=cgroupfs")
        said = buildah(*own, "load", "-q", "-i", archive, program="podman")
        assert said.splitlines() == [f"Loaded image: {name}", f"Loaded image: {registry}/archives:zstd"]
    # The module's image is there again, as it was: with layers that docker's archives can take, too.
    buildah("rmi", "-f", id)
    assert buildah("pull", "-q", f"oci-archive:{archive}:1") == id
    buildah("tag", id, "odd:2")


@pytest.mark.parametrize("form", ["oci-archive", "docker-archive"])
def test_archives_of_buildah(buildah: Buildah, daemon: Daemon, registry: str, tmp_path: Path, form: str) -> None:
    name = f"localhost/{form}:1"
    buildah("push", "-q", "odd:2", f"{form}:{tmp_path}/in.tar:{name}")
    assert corten(daemon, form, "import", tmp_path / "in.tar").split()[0] == name
    assert mounted(daemon, form, name, tmp_path / "m") == buildah.describe("odd:2")
    assert corten(daemon, form, "run", "--rm", name) == "leaf"


def test_zstd_chunked_comes_and_is_converted(buildah: Buildah, daemon: Daemon, tmp_path: Path) -> None:
    """Where what lies in such a layer is told by annotations, which are not true of the converted one.

    In a registry of its own: of one that has the layers buildah takes them as they are.
    """
    with peers.registry(tmp_path / "registry") as registry:
        name, made = f"{registry}/chunked:1", f"{registry}/chunked:gzip"
        pushed(buildah, "odd:1", name, "--compression-format", "zstd:chunked")
        layer = manifest(name)["layers"][0]
        assert layer["mediaType"] == f"{LAYER}+zstd"
        assert any("zstd-chunked" in key for key in layer["annotations"])
        corten(daemon, "chunked", "pull", name)
        assert mounted(daemon, "chunked", name, tmp_path / "m") == buildah.describe("odd:1")
        corten(daemon, "chunked", "image", "convert", "--compression", "gzip", name, made)
        corten(daemon, "chunked", "push", made)
        layer = manifest(made)["layers"][0]
        assert layer["mediaType"] == f"{LAYER}+gzip"
        assert "annotations" not in layer
        id = buildah("inspect", "--format", "{{.FromImageID}}", "odd:1")
        assert buildah("pull", "-q", "--policy", "always", "--tls-verify=false", made) == id


def test_an_index_of_buildah_comes_and_goes_whole(
    buildah: Buildah, daemon: Daemon, registry: str, tmp_path: Path
) -> None:
    name, copy, archive = f"{registry}/index:1", f"{registry}/index/copy:1", tmp_path / "all.tar"
    buildah("manifest", "create", "both")
    for machine in ("amd64", "arm64"):
        container = buildah("from", "--arch", machine, "scratch")
        (Path(buildah("mount", container)) / "machine").write_text(machine)
        buildah("config", "--arch", machine, container)
        buildah.commit(container, f"one:{machine}", "--manifest", "both")
    file = buildah.folder / "digest"
    buildah("manifest", "push", "-q", "--all", "--tls-verify=false", "--digestfile", file, "both", f"docker://{name}")
    digest = file.read_text()
    assert corten(daemon, "index", "pull", "--all-platforms", name) == f"{name} {digest}"
    corten(daemon, "index", "push", name, copy)
    assert corten(daemon, "index-back", "pull", copy) == f"{copy} {digest}"
    corten(daemon, "index", "export", "--all-platforms", archive, name)
    assert corten(daemon, "index-in", "import", archive) == f"{name} {digest}"
    assert corten(daemon, "index-in", "image", "verify", name).startswith(f"{name}: whole")
    id = buildah("inspect", "--type", "image", "--format", "{{.FromImageID}}", "one:arm64")
    buildah("rmi", "-f", id)
    assert buildah("pull", "-q", "--arch", "arm64", f"oci-archive:{archive}") == id


@pytest.mark.parametrize("snapshotter", ["overlayfs", "native"])
async def test_a_layer_that_corten_makes_is_unpacked_by_buildah(
    buildah: Buildah, daemon: Daemon, registry: str, tmp_path: Path, snapshotter: str
) -> None:
    base, name = f"{registry}/base:{snapshotter}", f"{registry}/made:{snapshotter}"
    await asyncio.to_thread(pushed, buildah, "odd:1", base)
    async with Client(daemon.address, f"made-{snapshotter}") as client, client.leased() as held:
        await pull(held, base, PullOptions(snapshotter=snapshotter))
        found = await resolve(held, await held.images.get(base))
        layout = images.Layout(tmp_path / "layout")
        layers = [
            layout.blob(await held.content.read_all(each.digest, 1 << 24), each.media_type)
            for each in found.manifest.layers
        ]
        mounts = await held.snapshots(snapshotter).prepare("changed", found.top)
        with temporary_mount(mounts) as tree:
            odd_trees.second(tree)
            wanted = without_root(describe(tree))
        below = await held.snapshots(snapshotter).view("below", found.top)
        made = await held.diff.compare(below, mounts, media_type=f"{LAYER}+gzip")
        data = await held.content.read_all(made.digest, 1 << 24)
    diff_ids = [*found.config.diff_ids, f"sha256:{hashlib.sha256(gzip.decompress(data)).hexdigest()}"]
    write(layout, [*layers, layout.blob(data, made.media_type)], diff_ids)
    await asyncio.to_thread(images.push, layout.folder, name)
    await asyncio.to_thread(buildah, "pull", "-q", "--tls-verify=false", name)
    assert await asyncio.to_thread(buildah.describe, name) == wanted


def write(layout: images.Layout, layers: Sequence[dict[str, Any]], diff_ids: Sequence[str]) -> None:
    rootfs = {"type": "layers", "diff_ids": diff_ids}
    config = {"architecture": "amd64", "os": "linux", "config": images.CONFIG, "rootfs": rootfs}
    media_type = "application/vnd.oci.image.manifest.v1+json"
    described = layout.json(config, "application/vnd.oci.image.config.v1+json")
    document = {"schemaVersion": 2, "mediaType": media_type, "config": described, "layers": layers}
    target = layout.json(document, media_type) | {"annotations": {"org.opencontainers.image.ref.name": "latest"}}
    (layout.folder / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [target]}))
