"""The conformance suite of `corten.contracts.snapshots`: plain functions, to be run against any snapshotter.

    @pytest.mark.parametrize("name", sorted(checks(mounts=True)))
    def test_contract(name, tmp_path):
        checks(mounts=True)[name](MySnapshotter(tmp_path))

Each check is given a snapshotter with nothing in it and raises AssertionError when the contract is broken. Those with
mounts need root on Linux. `MemorySnapshotter` passes all the others.
"""

import os
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from corten.contracts.mounts import Mount
from corten.contracts.snapshots import Cleaner, Kind, SnapshotInfo, Snapshotter
from corten.errors import AlreadyExists, CortenError, FailedPrecondition, InvalidArgument, NotFound
from corten.testing.memory_snapshots import MemorySnapshotter

__all__ = ["Check", "MemorySnapshotter", "checks", "fails", "layer", "mounted", "plant"]

Check = Callable[[Snapshotter], None]

DEEP = 64
DEEPER = 128
"""Layers in the checks of long chains."""


def checks(*, mounts: bool) -> Mapping[str, Check]:
    """All checks by name; without `mounts` only those that look at records."""
    chosen = [*_RECORDS, *(_TREES if mounts else ())]
    return {check.__name__.removeprefix("_"): check for check in chosen}


def fails(error: type[CortenError], call: Callable[..., object], *args: object, **kwargs: object) -> CortenError:
    """Assert that the call raises `error`; returns what was raised."""
    try:
        result = call(*args, **kwargs)
    except error as raised:
        assert raised.message, "an error must say something"
        return raised
    raise AssertionError(f"expected {error.__name__}, got {result!r}")


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


def names(snapshotter: Snapshotter, *filters: str) -> list[str]:
    """What a walk finds."""
    return [info.name for info in snapshotter.walk(filters)]


def _life_cycle(snapshotter: Snapshotter) -> None:
    snapshotter.prepare("key")
    active = snapshotter.stat("key")
    assert (active.name, active.kind, active.parent) == ("key", Kind.ACTIVE, "")
    assert 0 < active.created_at <= active.updated_at
    snapshotter.commit("name", "key")
    fails(NotFound, snapshotter.stat, "key")
    committed = snapshotter.stat("name")
    assert (committed.kind, committed.parent) == (Kind.COMMITTED, "")
    snapshotter.view("view", "name")
    assert snapshotter.stat("view") == SnapshotInfo(
        "view", Kind.VIEW, "name", snapshotter.stat("view").created_at, snapshotter.stat("view").updated_at, {}
    )
    for key in ("view", "name"):
        snapshotter.remove(key)
    assert names(snapshotter) == []


def _missing_things_are_not_found(snapshotter: Snapshotter) -> None:
    fails(NotFound, snapshotter.stat, "absent")
    fails(NotFound, snapshotter.mounts, "absent")
    fails(NotFound, snapshotter.usage, "absent")
    fails(NotFound, snapshotter.remove, "absent")
    fails(NotFound, snapshotter.commit, "name", "absent")
    fails(NotFound, snapshotter.prepare, "key", "absent")
    fails(NotFound, snapshotter.view, "key", "absent")
    fails(NotFound, snapshotter.update, SnapshotInfo("absent", labels={"a": "b"}))
    assert names(snapshotter) == []


def _keys_and_names_share_one_space(snapshotter: Snapshotter) -> None:
    snapshotter.prepare("a")
    fails(AlreadyExists, snapshotter.prepare, "a")
    fails(AlreadyExists, snapshotter.view, "a")
    snapshotter.commit("b", "a")
    fails(AlreadyExists, snapshotter.prepare, "b")
    snapshotter.prepare("c")
    fails(AlreadyExists, snapshotter.commit, "b", "c")
    assert snapshotter.stat("c").kind is Kind.ACTIVE, "a commit that failed leaves its key"
    fails(AlreadyExists, snapshotter.commit, "c", "c")


def _empty_keys_are_refused(snapshotter: Snapshotter) -> None:
    fails(InvalidArgument, snapshotter.prepare, "")
    fails(InvalidArgument, snapshotter.view, "")
    snapshotter.prepare("key")
    fails(InvalidArgument, snapshotter.commit, "", "key")
    assert snapshotter.stat("key").kind is Kind.ACTIVE


def _only_committed_snapshots_are_parents(snapshotter: Snapshotter) -> None:
    snapshotter.prepare("active")
    fails(FailedPrecondition, snapshotter.prepare, "key", "active")
    snapshotter.commit("base", "active")
    snapshotter.view("view", "base")
    fails(FailedPrecondition, snapshotter.prepare, "key", "view")
    fails(FailedPrecondition, snapshotter.view, "key", "view")
    fails(NotFound, snapshotter.stat, "key")


def _only_active_snapshots_are_committed(snapshotter: Snapshotter) -> None:
    snapshotter.prepare("key")
    snapshotter.commit("base", "key")
    fails(FailedPrecondition, snapshotter.commit, "again", "base")
    snapshotter.view("view", "base")
    fails(FailedPrecondition, snapshotter.commit, "again", "view")


def _parents_are_not_removed(snapshotter: Snapshotter) -> None:
    snapshotter.prepare("key")
    snapshotter.commit("base", "key")
    snapshotter.prepare("child", "base")
    error = fails(FailedPrecondition, snapshotter.remove, "base")
    assert "child" in error.message, "the message names who is in the way"
    snapshotter.remove("child")
    snapshotter.remove("base")


def _committed_snapshots_have_no_mounts(snapshotter: Snapshotter) -> None:
    snapshotter.prepare("key")
    snapshotter.commit("base", "key")
    fails(FailedPrecondition, snapshotter.mounts, "base")


def _mounts_are_those_of_prepare(snapshotter: Snapshotter) -> None:
    first = snapshotter.prepare("key")
    assert first and snapshotter.mounts("key") == first
    snapshotter.commit("base", "key")
    second = snapshotter.prepare("key2", "base")
    assert snapshotter.mounts("key2") == second
    view = snapshotter.view("view", "base")
    assert snapshotter.mounts("view") == view
    assert any("ro" in mount.options or "upperdir" not in "".join(mount.options) for mount in view)


def _labels_are_kept(snapshotter: Snapshotter) -> None:
    snapshotter.prepare("key", labels={"containerd.io/gc.root": "now", "a": "1"})
    assert snapshotter.stat("key").labels == {"containerd.io/gc.root": "now", "a": "1"}
    snapshotter.commit("base", "key", labels={"b": "2"})
    assert snapshotter.stat("base").labels == {"b": "2"}, "a commit brings labels of its own"
    snapshotter.view("view", "base", labels={"c": "3"})
    assert snapshotter.stat("view").labels == {"c": "3"}
    fails(InvalidArgument, snapshotter.prepare, "large", labels={"k": "v" * 4096})
    fails(NotFound, snapshotter.stat, "large")


def _labels_are_updated(snapshotter: Snapshotter) -> None:
    snapshotter.prepare("key", labels={"a": "1", "b": "2"})
    updated = snapshotter.update(SnapshotInfo("key", labels={"a": "9", "c": "3"}), ["labels.a"])
    assert updated.labels == {"a": "9", "b": "2"} == snapshotter.stat("key").labels
    assert updated.updated_at >= updated.created_at
    assert snapshotter.update(SnapshotInfo("key", labels={}), ["labels.b"]).labels == {"a": "9"}
    assert snapshotter.update(SnapshotInfo("key", labels={"d": "4"}), ["labels"]).labels == {"d": "4"}
    assert snapshotter.update(SnapshotInfo("key", labels={"e": "5"})).labels == {"e": "5"}
    fails(InvalidArgument, snapshotter.update, SnapshotInfo("key", parent="x"), ["parent"])
    assert snapshotter.stat("key").labels == {"e": "5"}


def _walk_is_sorted_and_filtered(snapshotter: Snapshotter) -> None:
    snapshotter.prepare("k")
    snapshotter.commit("base", "k", labels={"team": "a.b"})
    for key in ("z", "é", "a"):
        snapshotter.prepare(key, "base", labels={"team": key})
    snapshotter.view("view", "base")
    assert names(snapshotter) == ["a", "base", "view", "z", "é"]
    assert names(snapshotter, "kind==committed") == ["base"]
    assert names(snapshotter, "kind==view", "name==a") == ["a", "view"]
    assert names(snapshotter, "parent==base,kind==active") == ["a", "z", "é"]
    assert names(snapshotter, 'labels."team"==a.b') == ["base"]
    assert names(snapshotter, "labels.team") == ["a", "base", "z", "é"]
    assert names(snapshotter, "name~=^[az]$") == ["a", "z"]
    fails(InvalidArgument, lambda: names(snapshotter, "name==="))


def _walks_are_long_and_survive_changes(snapshotter: Snapshotter) -> None:
    for number in range(300):
        snapshotter.prepare(f"key-{number:03}")
    seen = []
    for info in snapshotter.walk():
        seen.append(info.name)
        snapshotter.remove(info.name)
    assert seen == [f"key-{number:03}" for number in range(300)]
    assert names(snapshotter) == []


def _long_names(snapshotter: Snapshotter) -> None:
    for length in (512, 4096, 32768):
        snapshotter.prepare("k" * length)
        snapshotter.commit("n" * length, "k" * length)
        assert snapshotter.stat("n" * length).name == "n" * length
    assert [len(name) for name in names(snapshotter)] == [512, 4096, 32768]


def _one_of_many_wins(snapshotter: Snapshotter) -> None:
    def attempt(_: int) -> bool:
        try:
            snapshotter.prepare("contended")
        except AlreadyExists:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(attempt, range(16))) == 1


def _cleanup_is_always_safe(snapshotter: Snapshotter) -> None:
    snapshotter.prepare("key")
    snapshotter.prepare("gone")
    snapshotter.remove("gone")
    if isinstance(snapshotter, Cleaner):
        snapshotter.cleanup()
        snapshotter.cleanup()
    assert names(snapshotter) == ["key"]


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


_RECORDS: Sequence[Check] = (
    _life_cycle,
    _missing_things_are_not_found,
    _keys_and_names_share_one_space,
    _empty_keys_are_refused,
    _only_committed_snapshots_are_parents,
    _only_active_snapshots_are_committed,
    _parents_are_not_removed,
    _committed_snapshots_have_no_mounts,
    _mounts_are_those_of_prepare,
    _labels_are_kept,
    _labels_are_updated,
    _walk_is_sorted_and_filtered,
    _walks_are_long_and_survive_changes,
    _long_names,
    _one_of_many_wins,
    _cleanup_is_always_safe,
)
_TREES: Sequence[Check] = (
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
