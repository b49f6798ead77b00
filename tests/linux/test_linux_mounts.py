"""Real mounts: made, nested, refused, and always taken away."""

import ctypes
import errno
import logging
import os
import subprocess
from pathlib import Path

import pytest
from corten.contracts.mounts import Mount
from corten.errors import InvalidArgument, NotFound, Unavailable, Unimplemented
from corten.linux import mountinfo, syscalls
from corten.linux.mount import ensure_unmounted, holder, mount_all, temporary_mount, unmount_all
from corten.linux.removal import remove_tree

pytestmark = pytest.mark.integration
TMPFS = Mount("tmpfs", "tmpfs", options=("size=1m",))


def at(path: Path) -> list[str]:
    return [mount.target for mount in mountinfo.below(str(path), mountinfo.mounts())]


def test_a_failure_takes_the_mounts_before_it_away(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="/absent"):
        mount_all([TMPFS, Mount("bind", "/absent", options=("bind",))], tmp_path)
    assert at(tmp_path) == []


def test_names_that_the_kernel_escapes_are_found(tmp_path: Path) -> None:
    target = tmp_path / "sp ace\ttab\nline\\040#é"
    (target / "in ner").mkdir(parents=True)
    mount_all([TMPFS], target)
    (target / "in ner").mkdir()
    mount_all([TMPFS], target / "in ner")
    assert at(target) == [str(target / "in ner"), str(target)]
    with pytest.raises(Unavailable, match="in ner"):
        ensure_unmounted(target)
    unmount_all(target)
    ensure_unmounted(target)
    assert at(target) == []


def test_a_failure_leaves_what_was_mounted_by_others(tmp_path: Path) -> None:
    mount_all([TMPFS], tmp_path)
    (tmp_path / "inner").mkdir()
    try:
        with pytest.raises(NotFound):
            inner = Mount("tmpfs", "tmpfs", "inner")
            mount_all([inner, TMPFS, Mount("bind", "/absent", options=("bind",))], tmp_path)
        assert at(tmp_path) == [str(tmp_path)]
    finally:
        unmount_all(tmp_path)


def test_nested_and_stacked_mounts_are_unmounted_deepest_first(tmp_path: Path) -> None:
    mount_all([TMPFS, TMPFS], tmp_path)
    (tmp_path / "with space").mkdir()
    mount_all([TMPFS], tmp_path / "with space")
    assert len(at(tmp_path)) == 3
    unmount_all(tmp_path)
    assert at(tmp_path) == []
    unmount_all(tmp_path)


def test_what_stays_busy_is_named_and_detached(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    mount_all([TMPFS], tmp_path)
    sleeper = subprocess.Popen(["sleep", "60"], cwd=tmp_path)
    try:
        with caplog.at_level(logging.WARNING):
            unmount_all(tmp_path)
        assert f"pid {sleeper.pid}" in caplog.text
        assert at(tmp_path) == []
    finally:
        sleeper.kill()
        sleeper.wait()


def test_the_holder_is_found(tmp_path: Path) -> None:
    mount_all([TMPFS], tmp_path)
    try:
        with (tmp_path / "open").open("w"):
            assert f"pid {os.getpid()}" in holder(str(tmp_path))
        with pytest.raises(Unavailable, match="still mounted"):
            ensure_unmounted(tmp_path)
    finally:
        unmount_all(tmp_path)
    ensure_unmounted(tmp_path)


def test_a_target_inside_cannot_lead_out(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    root = tmp_path / "root"
    (root / "outside").mkdir(parents=True)
    (root / "link").symlink_to("../../../../../../outside")
    mount_all([Mount("bind", str(root), options=("bind",)), Mount("tmpfs", "tmpfs", "link")], root)
    try:
        assert at(outside) == []
        assert at(root / "outside") == [str(root / "outside")]
    finally:
        unmount_all(root)


def test_a_read_only_target_inside_leaves_the_rest_writable(tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    mount_all([TMPFS], tmp_path / "source")
    root = tmp_path / "root"
    (root / "inner").mkdir(parents=True)
    try:
        binds = [
            Mount("bind", str(root), options=("rbind",)),
            Mount("bind", str(tmp_path / "source"), "inner", ("ro",)),
        ]
        mount_all(binds, root)
        (root / "f").touch()
        with pytest.raises(OSError, match="Read-only"):
            (root / "inner" / "f").touch()
        (tmp_path / "source" / "f").touch()
    finally:
        unmount_all(tmp_path)


def test_a_temporary_mount_is_gone_after_an_error(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), temporary_mount([TMPFS], tmp_path) as path:
        assert at(path) == [str(path)]
        raise RuntimeError
    assert list(tmp_path.iterdir()) == [] and at(tmp_path) == []


@pytest.mark.parametrize(
    ("mount", "error"),
    [
        (Mount("ext4", "/image", options=("loop",)), NotFound),
        (Mount("fuse.sshfs", "host:"), Unimplemented),
        (Mount("bind", "/etc/passwd", options=("bind",)), InvalidArgument),
    ],
)
def test_what_cannot_be_mounted_says_so(mount: Mount, error: type[Exception], tmp_path: Path) -> None:
    with pytest.raises(error, match="mount "):
        mount_all([mount], tmp_path)
    assert at(tmp_path) == []


@pytest.mark.parametrize(("count", "width"), [(3, 10), (60, 200), (400, 20)])
def test_overlays_of_many_and_long_lower_directories(count: int, width: int, tmp_path: Path) -> None:
    lowers = []
    for number in range(count):
        lower = tmp_path / "layers" / f"{number:0{width}}" / "fs"
        lower.mkdir(parents=True)
        (lower / f"f{number}").touch()
        lowers.append(str(lower))
    for name in ("upper", "work"):
        (tmp_path / name).mkdir()
    words = (f"workdir={tmp_path}/work", f"upperdir={tmp_path}/upper", "lowerdir=" + ":".join(lowers))
    with temporary_mount([Mount("overlay", "overlay", options=words)], tmp_path) as tree:
        assert len(list(tree.iterdir())) == count
        (tree / "new").touch()
    assert (tmp_path / "upper" / "new").exists()


def test_the_working_directory_stays_where_it_was(tmp_path: Path) -> None:
    before = Path.cwd()
    test_overlays_of_many_and_long_lower_directories(60, 200, tmp_path)
    assert Path.cwd() == before


def test_a_failed_call_names_itself_and_the_path() -> None:
    with pytest.raises(OSError, match="umount2") as raised:
        syscalls.umount2("/not/there")
    assert raised.value.errno == errno.ENOENT and raised.value.filename == "/not/there"
    with pytest.raises(OSError, match="setns"):
        syscalls.setns(-1)
    ctypes.set_errno(0)


def test_openat2_stays_in_its_root(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "passwd").write_text("inside")
    (tmp_path / "link").symlink_to("/etc/passwd")
    root = os.open(tmp_path, os.O_PATH)
    fd = syscalls.openat2(root, "link", os.O_RDONLY, syscalls.RESOLVE_IN_ROOT)
    try:
        assert os.read(fd, 100) == b"inside"
        assert not os.get_inheritable(fd)
    finally:
        os.close(fd)
        os.close(root)


def test_deep_and_wide_trees_are_removed(tmp_path: Path) -> None:
    (tmp_path / "tree").mkdir()
    (tmp_path / "victim").write_text("stays")
    fd = os.open(tmp_path / "tree", os.O_RDONLY)
    for _ in range(3000):
        os.mkdir("d", dir_fd=fd)
        os.symlink("../../victim", "link", dir_fd=fd)
        inner = os.open("d", os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = inner
    os.close(fd)
    for number in range(100):
        (tmp_path / "tree" / str(number)).mkdir()
    remove_tree(str(tmp_path / "tree"))
    remove_tree(str(tmp_path / "tree"))
    assert [path.name for path in tmp_path.iterdir()] == ["victim"]
