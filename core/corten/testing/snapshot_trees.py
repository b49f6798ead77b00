"""The checks of snapshotters that mount what they are given: layers add up, and nothing of one shows in another.

`corten.testing.snapshots` runs them; they need root on Linux.
"""

import os
import stat
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from corten.contracts.mounts import Mount
from corten.contracts.snapshots import Cleaner, Snapshotter

assert sys.platform != "win32"

DEEP = 64
DEEPER = 128
"""Layers in the checks of long chains."""


@contextmanager
def mounted(mounts: Sequence[Mount]) -> Iterator[Path]:
    """The tree for as long as the block runs."""
    from corten.linux.mount import temporary_mount

    with temporary_mount(mounts) as path:
        yield path


def layer(snapshotter: Snapshotter, name: str, parent: str, change: Callable[[Path], object]) -> None:
    """Commit what `change` makes of the tree of `parent`."""
    with mounted(snapshotter.prepare(f"{name}-key", parent)) as tree:
        change(tree)
    snapshotter.commit(name, f"{name}-key")


def plant(tree: Path, files: Mapping[str, str]) -> None:
    """Write files with these texts; a name that ends with `/` is a directory."""
    for name, text in files.items():
        if name.endswith("/"):
            (tree / name).mkdir()
        else:
            (tree / name).write_text(text)


def _layers_add_up(snapshotter: Snapshotter) -> None:
    layer(snapshotter, "one", "", lambda tree: plant(tree, {"a": "1", "d/": ""}))
    layer(snapshotter, "two", "one", lambda tree: plant(tree, {"a": "2", "d/b": "b"}))
    with mounted(snapshotter.prepare("key", "two")) as tree:
        assert (tree / "a").read_text() == "2"
        assert (tree / "d/b").read_text() == "b"
    with mounted(snapshotter.view("old", "one")) as tree:
        assert (tree / "a").read_text() == "1"
        assert not (tree / "d/b").exists()


def _siblings_do_not_see_each_other(snapshotter: Snapshotter) -> None:
    layer(snapshotter, "base", "", lambda tree: (tree / "shared").write_text("base"))
    with mounted(snapshotter.prepare("a", "base")) as tree:
        (tree / "shared").write_text("a")
    with mounted(snapshotter.prepare("b", "base")) as tree:
        assert (tree / "shared").read_text() == "base"


def _removals(snapshotter: Snapshotter) -> None:
    def fill(tree: Path) -> None:
        (tree / "d/e").mkdir(parents=True)
        for name in ("file", "d/inner", "d/e/deep", "kept"):
            (tree / name).write_text(name)

    def cut(tree: Path) -> None:
        (tree / "file").unlink()
        (tree / "d/e/deep").unlink()
        (tree / "d/e").rmdir()

    layer(snapshotter, "base", "", fill)
    layer(snapshotter, "cut", "base", cut)
    with mounted(snapshotter.view("view", "cut")) as tree:
        assert sorted(os.listdir(tree)) == ["d", "kept"]
        assert os.listdir(tree / "d") == ["inner"]


def _a_directory_made_again_is_empty(snapshotter: Snapshotter) -> None:
    def again(tree: Path) -> None:
        (tree / "d/old").unlink()
        (tree / "d").rmdir()
        (tree / "d").mkdir()
        (tree / "d/new").touch()

    layer(snapshotter, "base", "", lambda tree: plant(tree, {"d/": "", "d/old": ""}))
    layer(snapshotter, "again", "base", again)
    with mounted(snapshotter.prepare("key", "again")) as tree:
        assert os.listdir(tree / "d") == ["new"]


def _kinds_of_files_replace_each_other(snapshotter: Snapshotter) -> None:
    def fill(tree: Path) -> None:
        (tree / "dir").mkdir()
        (tree / "dir/inner").touch()
        (tree / "file").touch()

    def swap(tree: Path) -> None:
        (tree / "dir/inner").unlink()
        (tree / "dir").rmdir()
        (tree / "dir").symlink_to("file")
        (tree / "file").unlink()
        (tree / "file").mkdir()

    layer(snapshotter, "base", "", fill)
    layer(snapshotter, "swapped", "base", swap)
    with mounted(snapshotter.view("view", "swapped")) as tree:
        assert os.readlink(tree / "dir") == "file"
        assert (tree / "file").is_dir()


def _owners_and_modes(snapshotter: Snapshotter) -> None:
    layer(snapshotter, "base", "", lambda tree: plant(tree, {"f": "", "d/": ""}))

    def change(tree: Path) -> None:
        os.chown(tree / "f", 1000, 1001)
        (tree / "f").chmod(0o4755)
        os.chown(tree / "d", 5, 6)
        (tree / "d").chmod(0o1777)

    layer(snapshotter, "changed", "base", change)
    with mounted(snapshotter.prepare("key", "changed")) as tree:
        file, directory = (tree / "f").stat(), (tree / "d").stat()
        assert (file.st_uid, file.st_gid, stat.S_IMODE(file.st_mode)) == (1000, 1001, 0o4755)
        assert (directory.st_uid, directory.st_gid, stat.S_IMODE(directory.st_mode)) == (5, 6, 0o1777)
    with mounted(snapshotter.view("old", "base")) as tree:
        assert (tree / "f").stat().st_uid == 0


def _the_root_keeps_mode_and_owner(snapshotter: Snapshotter) -> None:
    with mounted(snapshotter.prepare("fresh")) as tree:
        assert stat.S_IMODE(tree.stat().st_mode) == 0o755
        tree.chmod(0o710)
        os.chown(tree, 7, 8)
    snapshotter.commit("base", "fresh")
    for mounts in (snapshotter.prepare("key", "base"), snapshotter.view("view", "base")):
        with mounted(mounts) as tree:
            found = tree.stat()
            assert (stat.S_IMODE(found.st_mode), found.st_uid, found.st_gid) == (0o710, 7, 8)


def _hard_links(snapshotter: Snapshotter) -> None:
    def fill(tree: Path) -> None:
        (tree / "a").write_text("x")
        (tree / "b").hardlink_to(tree / "a")

    layer(snapshotter, "base", "", fill)
    with mounted(snapshotter.view("view", "base")) as tree:
        assert (tree / "a").samefile(tree / "b")
        assert (tree / "a").stat().st_nlink == 2
    with mounted(snapshotter.prepare("key", "base")) as tree:
        (tree / "c").hardlink_to(tree / "a")
        assert (tree / "c").read_text() == "x"


def _renames_across_layers(snapshotter: Snapshotter) -> None:
    layer(snapshotter, "base", "", lambda tree: plant(tree, {"d/": "", "d/f": "x"}))

    def rename(tree: Path) -> None:
        (tree / "d/f").rename(tree / "g")
        (tree / "d").rmdir()

    layer(snapshotter, "renamed", "base", rename)
    with mounted(snapshotter.prepare("key", "renamed")) as tree:
        assert os.listdir(tree) == ["g"]
        assert (tree / "g").read_text() == "x"


def _views_are_read_only(snapshotter: Snapshotter) -> None:
    layer(snapshotter, "one", "", lambda tree: (tree / "f").touch())
    layer(snapshotter, "two", "one", lambda tree: (tree / "g").touch())
    for number, parent in enumerate(("", "one", "two")):
        with mounted(snapshotter.view(f"view{number}", parent)) as tree:
            try:
                (tree / "new").touch()
            except OSError:
                continue
            raise AssertionError(f"the view of {parent!r} could be written to")


def _links_and_nodes(snapshotter: Snapshotter) -> None:
    def fill(tree: Path) -> None:
        (tree / "link").symlink_to("/nowhere/at all")
        os.mkfifo(tree / "fifo", 0o640)
        os.mknod(tree / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
        (tree / "f").touch()
        os.setxattr(tree / "f", "user.colour", b"green")

    layer(snapshotter, "base", "", fill)
    with mounted(snapshotter.prepare("key", "base")) as tree:
        assert os.readlink(tree / "link") == "/nowhere/at all"
        assert stat.S_ISFIFO((tree / "fifo").stat().st_mode)
        assert (tree / "null").stat().st_rdev == os.makedev(1, 3)
        assert os.getxattr(tree / "f", "user.colour") == b"green"


def _usage_is_the_snapshots_own(snapshotter: Snapshotter) -> None:
    def fill(tree: Path) -> None:
        (tree / "f").write_bytes(os.urandom(256 << 10))
        (tree / "link").hardlink_to(tree / "f")

    snapshotter.prepare("empty")
    empty = snapshotter.usage("empty")
    layer(snapshotter, "base", "", fill)
    usage = snapshotter.usage("base")
    assert usage.inodes == empty.inodes + 1, "a hard link is counted once"
    assert 256 << 10 <= usage.size < 512 << 10
    with mounted(snapshotter.prepare("key", "base")) as tree:
        before = snapshotter.usage("key")
        (tree / "g").write_bytes(os.urandom(128 << 10))
        os.sync()
        after = snapshotter.usage("key")
    assert after.inodes == before.inodes + 1
    assert after.size >= before.size + (128 << 10)
    snapshotter.view("view", "base")
    assert snapshotter.usage("view").size <= empty.size + 4096


def _chain(snapshotter: Snapshotter, length: int) -> str:
    parent = ""
    for number in range(length):
        key, name = f"key-{number}", f"layer-{number:03}"
        with mounted(snapshotter.prepare(key, parent)) as tree:
            (tree / f"f{number:03}").touch()
            if number % 7 == 6:
                (tree / f"f{number - 1:03}").unlink()
        snapshotter.commit(name, key)
        parent = name
    return parent


def _deep_chains(snapshotter: Snapshotter) -> None:
    top = _chain(snapshotter, DEEP)
    with mounted(snapshotter.view("view", top)) as tree:
        assert len(os.listdir(tree)) == DEEP - DEEP // 7
        assert not (tree / "f005").exists()


def _deeper_chains_than_a_page_of_options(snapshotter: Snapshotter) -> None:
    top = _chain(snapshotter, DEEPER)
    with mounted(snapshotter.prepare("key", top)) as tree:
        assert len(os.listdir(tree)) == DEEPER - DEEPER // 7
        (tree / "new").touch()
        assert (tree / "new").exists()


def _removed_leaves_are_gone_and_bases_stay(snapshotter: Snapshotter) -> None:
    layer(snapshotter, "base", "", lambda tree: (tree / "f").write_text("x"))
    layer(snapshotter, "top", "base", lambda tree: (tree / "g").touch())
    snapshotter.remove("top")
    if isinstance(snapshotter, Cleaner):
        snapshotter.cleanup()
    with mounted(snapshotter.prepare("top-key", "base")) as tree:
        assert os.listdir(tree) == ["f"]


TREES: Sequence[Callable[[Snapshotter], None]] = (
    _layers_add_up,
    _siblings_do_not_see_each_other,
    _removals,
    _a_directory_made_again_is_empty,
    _kinds_of_files_replace_each_other,
    _owners_and_modes,
    _the_root_keeps_mode_and_owner,
    _hard_links,
    _renames_across_layers,
    _views_are_read_only,
    _links_and_nodes,
    _usage_is_the_snapshots_own,
    _deep_chains,
    _deeper_chains_than_a_page_of_options,
    _removed_leaves_are_gone_and_bases_stay,
)
