"""Loop devices and mounts with the option `loop`, on real images."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from corten.contracts.mounts import Mount
from corten.errors import NotFound
from corten.linux import loop, mount
from peers import wait_until

pytestmark = pytest.mark.integration


@pytest.fixture
def image(tmp_path: Path) -> Iterator[Path]:
    """An ext4 file system in a file."""
    if shutil.which("mkfs.ext4") is None or not os.access(loop.CONTROL, os.W_OK):
        pytest.skip("mkfs.ext4 or loop devices are missing")
    path = tmp_path / "disk.img"
    with path.open("wb") as file:
        file.truncate(4 << 20)
    subprocess.run(["mkfs.ext4", "-q", path], check=True)
    yield path
    wait_until(lambda: str(path) not in devices(), "the kernel has freed the loop device")


def devices() -> list[str]:
    return [loop.backing_file(path.name) for path in Path("/sys/block").glob("loop*")]


def test_a_device_lives_as_long_as_it_is_open(image: Path) -> None:
    with loop.attached(str(image)) as device:
        assert loop.backing_file(device) == str(image)
    wait_until(lambda: loop.backing_file(device) != str(image), "the kernel has freed the loop device")


def test_a_kept_device_lives_until_it_is_released(image: Path) -> None:
    fd, device = loop.attach(str(image), read_only=True)
    loop.keep(fd)
    os.close(fd)
    assert loop.backing_file(device) == str(image)
    loop.release(device)
    wait_until(lambda: loop.backing_file(device) != str(image), "the kernel has freed the loop device")
    loop.release(device)


@pytest.mark.parametrize("words", [("loop",), ("loop", "ro")])
def test_a_file_is_mounted_by_the_option(image: Path, tmp_path: Path, words: tuple[str, ...]) -> None:
    target = tmp_path / "mnt"
    target.mkdir()
    mount.mount_all([Mount("ext4", str(image), options=words)], target)
    try:
        assert (target / "lost+found").is_dir()
        if "ro" in words:
            with pytest.raises(OSError):
                (target / "file").write_text("x")
        else:
            (target / "file").write_text("x")
    finally:
        mount.unmount_all(target)


def test_what_cannot_be_mounted_leaves_no_device(image: Path, tmp_path: Path) -> None:
    (tmp_path / "mnt").mkdir()
    with pytest.raises(Exception):  # noqa: B017  whichever of the kernel's complaints
        mount.mount_all([Mount("xfs", str(image), options=("loop",))], tmp_path / "mnt")
    with pytest.raises(NotFound):
        mount.mount_all([Mount("ext4", str(tmp_path / "none"), options=("loop",))], tmp_path / "mnt")
