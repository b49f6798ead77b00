"""Making a layer never looks behind links: not those of an image, nor those that a container puts there meanwhile."""

import io
import os
import tarfile
import threading
from pathlib import Path

import peers
import pytest
from corten.contracts.mounts import Mount
from corten.testing.memory_content import MemoryContent
from corten.testing.trees import GZIP, PLAIN
from corten_differs.walking import WalkingDiffer

pytestmark = pytest.mark.integration
LARGE = 256 << 20


@pytest.fixture
def host(memory_backed: Path) -> Path:
    """A folder of the host's, that no layer is to tell of."""
    folder = memory_backed / "host"
    folder.mkdir()
    (folder / "secret").write_text("secret")
    return folder


def bind(path: Path) -> list[Mount]:
    return [Mount("bind", str(path), options=("ro", "rbind"))]


def overlay(upper: Path, lower: Path) -> list[Mount]:
    work = upper.with_name("work")
    work.mkdir()
    return [Mount("overlay", "overlay", options=(f"lowerdir={lower}", f"upperdir={upper}", f"workdir={work}"))]


@pytest.mark.parametrize("guided", [False, True])
def test_a_directory_in_the_place_of_a_link(
    guided: bool, host: Path, differ: WalkingDiffer, memory_backed: Path
) -> None:
    lower, upper = memory_backed / "lower", memory_backed / "upper"
    (lower / "real").mkdir(parents=True)
    (lower / "real/old").touch()
    (lower / "inside").symlink_to("real")
    (lower / "outside").symlink_to(host)
    for name in ("inside", "outside"):
        (upper / name).mkdir(parents=True)
        (upper / name / "new").touch()
    content = MemoryContent()
    if not guided:
        (upper / "real").mkdir()
        (upper / "real/old").touch()
    made = differ.compare(bind(lower), overlay(upper, lower) if guided else bind(upper), content, media_type=PLAIN)
    with tarfile.open(fileobj=io.BytesIO(content.data(made.digest))) as tar:
        names = set(tar.getnames()) - {"real", "real/old"}
    assert names == {"inside", "inside/new", "outside", "outside/new"}


def test_a_link_that_comes_meanwhile(host: Path, differ: WalkingDiffer, memory_backed: Path) -> None:
    """A container goes on while an image is made of it."""
    lower, upper, content = memory_backed / "lower", memory_backed / "upper", MemoryContent()
    lower.mkdir()
    (upper / "folder").mkdir(parents=True)
    (upper / "before").write_bytes(os.urandom(1 << 20))
    with (upper / "folder/large").open("wb") as file:
        file.truncate(LARGE)
    (upper / "folder/secret").write_text("the container's own")
    made = []
    work = threading.Thread(
        target=lambda: made.append(differ.compare(bind(lower), bind(upper), content, media_type=GZIP, ref="layer"))
    )
    work.start()
    peers.wait_until(lambda: any(each.offset for each in content.statuses()), "the layer is being written")
    (upper / "folder").rename(upper / "moved")
    (upper / "folder").symlink_to(host)
    work.join()
    with tarfile.open(fileobj=io.BytesIO(content.data(made[0].digest))) as tar:
        assert b"secret" not in [tar.extractfile(each).read() for each in tar if each.name == "folder/secret"]  # type: ignore[union-attr]


def test_every_name_of_a_file_tells_all_of_it(differ: WalkingDiffer, memory_backed: Path) -> None:
    """docker, podman and buildah set owner, mode, time and attributes anew by the entry of a hard link."""
    upper, content = memory_backed / "upper", MemoryContent()
    upper.mkdir()
    (upper / "first").write_text("data")
    os.setxattr(upper / "first", "user.key", b"value")
    os.chown(upper / "first", 3, 4)
    (upper / "first").chmod(0o4711)
    os.utime(upper / "first", (1_600_000_000, 1_600_000_000))
    (upper / "second").hardlink_to(upper / "first")
    made = differ.compare([], bind(upper), content, media_type=PLAIN)
    with tarfile.open(fileobj=io.BytesIO(content.data(made.digest))) as tar:
        first, second = tar.getmember("first"), tar.getmember("second")
    assert (second.type, second.linkname) == (tarfile.LNKTYPE, "first")
    for field in ("uid", "gid", "mode", "mtime", "pax_headers"):
        assert getattr(second, field) == getattr(first, field), field
    assert first.mtime == 1_600_000_000
