"""Hostile layers in a pull: one clear error, nothing outside the snapshot, and nothing left behind.

Rows of the list of vulnerabilities that concern layers, unpacking, snapshots and permissions are named here.
"""

import asyncio
import os
import stat
import tarfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import images
import peers
import pytest
from corten import platforms
from corten.api.types.platform_pb2 import Platform
from corten.api.types.transfer.imagestore_pb2 import ImageStore, UnpackConfiguration
from corten.api.types.transfer.registry_pb2 import OCIRegistry, RegistryResolver
from corten.client.client import Client
from corten.client.image import resolve
from corten.contracts.mounts import Mount
from corten.errors import CortenError, InvalidArgument, NotFound, ResourceExhausted
from corten.linux.mount import temporary_mount
from corten.testing.memory_content import MemoryContent
from corten.testing.trees import Layer, layer, stored
from corten.zygote.client import Zygote
from corten_differs.walking import WalkingDiffer
from daemon import Daemon, running_daemon

pytestmark = [pytest.mark.integration, pytest.mark.timeout(90)]
HOST = platforms.host()
HERE = Platform(os=HOST.os, architecture=HOST.architecture, variant=HOST.variant)
VICTIM = Path(f"/tmp/corten-hostile-victim-{os.getpid()}")
UP = "../" * 20


def up_by_name(tar: tarfile.TarFile) -> None:
    images.file(tar, f"{UP}tmp/{VICTIM.name}", b"overwritten")


def up_by_link(tar: tarfile.TarFile) -> None:
    images.link(tar, "evil", f"{UP}tmp")
    images.file(tar, f"evil/{VICTIM.name}", b"overwritten")


def up_by_hard_link(tar: tarfile.TarFile) -> None:
    images.link(tar, "stolen", f"{UP}tmp/{VICTIM.name}", tarfile.LNKTYPE)


def up_by_whiteout(tar: tarfile.TarFile) -> None:
    images.file(tar, f"{UP}tmp/.wh.{VICTIM.name}")


def whiteout_of_the_parent(tar: tarfile.TarFile) -> None:
    images.file(tar, "data/.wh...")


def device_out_of_range(tar: tarfile.TarFile) -> None:
    tar.addfile(images.entry("dev", tarfile.CHRTYPE, devmajor=1 << 13, devminor=1))


def mark_of_overlayfs(tar: tarfile.TarFile) -> None:
    tar.addfile(images.entry("data/kept", tarfile.CHRTYPE, devmajor=0, devminor=0))


def bomb(tar: tarfile.TarFile) -> None:
    images.file(tar, "bomb", bytes(48 << 20))


def setuid_through_a_link(tar: tarfile.TarFile) -> None:
    """CVE-2021-32760: the mode of what a link points to was changed."""
    images.link(tar, "victim", str(VICTIM))
    images.file(tar, "victim", b"mine", 0o4777)
    images.link(tar, "victims", str(VICTIM))
    images.directory(tar, "victims", 0o4777)


def twice_the_same_entry(tar: tarfile.TarFile) -> None:
    images.link(tar, "twice", str(VICTIM))
    images.file(tar, "twice", b"first")
    images.link(tar, "twice", str(VICTIM))
    images.file(tar, "twice", b"last")


def overlay_attributes(tar: tarfile.TarFile) -> None:
    """Attributes of overlayfs itself would show one layer's files as another's."""
    headers = {"SCHILY.xattr.trusted.overlay.redirect": "/etc", "SCHILY.xattr.user.kept": "yes"}
    images.file(tar, "attributes", b"x", pax_headers=headers)


REFUSED: dict[str, tuple[images.Fill, type[CortenError], str]] = {
    "name": (up_by_name, InvalidArgument, "leads upwards"),
    "link": (up_by_link, InvalidArgument, "leads out of the root"),
    "hard-link": (up_by_hard_link, InvalidArgument, "leads upwards"),
    "whiteout": (up_by_whiteout, InvalidArgument, "leads upwards"),
    "whiteout-of-dots": (whiteout_of_the_parent, InvalidArgument, "whiteout of no file"),
    "device": (device_out_of_range, InvalidArgument, "out of range"),
    "overlay-mark": (mark_of_overlayfs, InvalidArgument, "mark of a removed file"),
    "bomb": (bomb, ResourceExhausted, "max_unpacked_bytes"),
}
HARMLESS: dict[str, images.Fill] = {
    "setuid": setuid_through_a_link,
    "duplicates": twice_the_same_entry,
    "attributes": overlay_attributes,
}


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("registry")
    with peers.registry(folder / "registry") as address:
        for name, fill in ({name: each[0] for name, each in REFUSED.items()} | HARMLESS).items():
            layout = images.write_layout(folder / name, (*images.FIVE[:2], fill))
            images.push(layout, f"{address}/hostile/{name}:v1")
        yield address


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    limits = "plugins:\n  io.containerd.differ.v1.walking: {max_unpacked_bytes: 33554432}\n"
    VICTIM.write_text("untouched")
    VICTIM.chmod(0o600)
    try:
        with running_daemon(config=limits) as running:
            yield running
        assert VICTIM.read_text() == "untouched" and stat.S_IMODE(VICTIM.stat().st_mode) == 0o600
    finally:
        VICTIM.unlink()


async def pull(client: Client, name: str, snapshotter: str) -> None:
    source = OCIRegistry(reference=name, resolver=RegistryResolver(default_scheme="http"))
    unpack = UnpackConfiguration(platform=HERE, snapshotter=snapshotter)
    await client.transfers.run(source, ImageStore(name=name, platforms=[HERE], unpacks=[unpack]))


@pytest.mark.parametrize("snapshotter", ["overlayfs", "native"])
@pytest.mark.parametrize("what", REFUSED)
async def test_refused(what: str, snapshotter: str, daemon: Daemon, registry: str) -> None:
    _, error, word = REFUSED[what]
    name = f"{registry}/hostile/{what}:v1"
    async with Client(daemon.address, f"{what}-{snapshotter}") as client:
        with pytest.raises(error, match=word):
            await pull(client, name, snapshotter)
        with pytest.raises(NotFound):
            await client.images.get(name)
        left = [each.name async for each in client.snapshots(snapshotter).walk(["kind==active"])]
        assert left == [] and await client.leases.list() == [] and await client.content.statuses() == []
    assert VICTIM.read_text() == "untouched"


@pytest.mark.parametrize("snapshotter", ["overlayfs", "native"])
@pytest.mark.parametrize("what", HARMLESS)
async def test_harmless(what: str, snapshotter: str, daemon: Daemon, registry: str) -> None:
    name = f"{registry}/hostile/{what}:v1"
    async with Client(daemon.address, f"{what}-{snapshotter}") as client, client.leased() as leased:
        await pull(leased, name, snapshotter)
        found = await resolve(leased, await leased.images.get(name))
        with temporary_mount(await leased.snapshots(snapshotter).view("look", found.top)) as tree:
            await asyncio.to_thread(CHECKS[what], tree)
    assert VICTIM.read_text() == "untouched" and stat.S_IMODE(VICTIM.stat().st_mode) == 0o600


def _setuid(tree: Path) -> None:
    assert (tree / "victim").read_text() == "mine" and stat.S_IMODE((tree / "victim").stat().st_mode) == 0o4777
    assert (tree / "victims").is_dir()


def _duplicates(tree: Path) -> None:
    assert not (tree / "twice").is_symlink() and (tree / "twice").read_text() == "last"


def _attributes(tree: Path) -> None:
    assert os.listxattr(tree / "attributes") == ["user.kept"]


CHECKS: dict[str, Callable[[Path], None]] = {
    "setuid": _setuid,
    "duplicates": _duplicates,
    "attributes": _attributes,
}


def test_cve_2021_41103_and_2024_25621_folders_are_for_root_alone(daemon: Daemon) -> None:
    """Set-id programs of images must not be in reach of the host's users, whatever modes the folders had before."""
    wide = [
        folder
        for top in (daemon.root, daemon.state)
        for folder in [top, *top.iterdir()]
        if folder.is_dir() and folder.stat().st_mode & 0o066
    ]
    assert wide == []
    snapshots = daemon.root / "io.containerd.snapshotter.v1.overlayfs"
    for folder in (snapshots, snapshots / "snapshots"):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    (snapshots / "snapshots").chmod(0o755)
    snapshots.chmod(0o777)
    daemon.restart()
    for folder in (snapshots, snapshots / "snapshots"):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700


@pytest.fixture
def workers() -> Iterator[Zygote]:
    zygote = Zygote.launch(["corten_differs.unpack"])
    yield zygote
    zygote.close()


def test_cve_2025_47290_a_link_that_is_swapped_in_while_a_layer_is_unpacked(workers: Zygote, tmp_path: Path) -> None:
    """A folder becomes a link to the outside, and a folder again, as fast as another process can do it."""
    outside, tree, done = tmp_path / "outside", tmp_path / "tree", threading.Event()
    outside.mkdir()
    (tree / "d").mkdir(parents=True)

    def swap() -> None:
        (tree / "link").symlink_to(outside)
        while not done.is_set():
            try:
                (tree / "d").rename(tree / "aside")
                (tree / "link").rename(tree / "d")
                (tree / "d").rename(tree / "link")
                (tree / "aside").rename(tree / "d")
            except OSError:
                continue  # the unpacking has made it anew in between

    def fill(made: Layer) -> None:
        for number in range(3000):
            made.add(f"d/sub{number}/f", b"x")

    swapping = threading.Thread(target=swap)
    swapping.start()
    try:
        content, bind = MemoryContent(), [Mount("bind", str(tree), options=("rw", "rbind"))]
        WalkingDiffer(workers, tmp_path / "mount").apply(stored(content, layer(fill)), bind, content)
    except CortenError:
        pass  # losing the race may be an error, winning it must not be possible
    finally:
        done.set()
        swapping.join()
    assert os.listdir(outside) == []


def test_ghsa_rp3h_jf77_q9p4_many_opaque_marks_take_linear_time(workers: Zygote, tmp_path: Path) -> None:
    """10^5 marks over a folder of a thousand: a walk for each would take hours."""
    content, tree = MemoryContent(), tmp_path / "tree"
    tree.mkdir()
    differ = WalkingDiffer(workers, tmp_path / "mount")

    def base(made: Layer) -> None:
        for number in range(1000):
            made.add(f"d/e/old{number}")

    def marks(made: Layer) -> None:
        for number in range(100_000):
            made.add("d/e/.wh..wh..opq" if number % 2 else "d/.wh..wh..opq")
        made.add("d/e/new")

    bind = [Mount("bind", str(tree), options=("rw", "rbind"))]
    for fill in (base, marks):
        differ.apply(stored(content, layer(fill)), bind, content)
    assert os.listdir(tree / "d/e") == ["new"]
