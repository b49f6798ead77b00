"""The snapshotters as plugins: settings, what they export, and what they make of a crash."""

import os
import shutil
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event
from typing import cast

import pytest
from corten.contracts.mounts import Mount
from corten.errors import (
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    ResourceExhausted,
    Unavailable,
    Unimplemented,
)
from corten.linux.mount import mount_all, temporary_mount, unmount_all
from corten.plugin.model import Registration, SkipPlugin
from corten.testing.context import FakeContext
from corten.testing.snapshot_trees import layer
from corten_snapshotters.native import NativeSnapshotter
from corten_snapshotters.overlayfs import OverlayfsSnapshotter, overlay_mounts, unsupported
from corten_snapshotters.registration import NativeConfig, OverlayfsConfig, native, overlayfs
from counts import count

pytestmark = pytest.mark.integration


def context(root: Path, registration: Registration, config: object = None) -> FakeContext:
    return FakeContext(root / "root", root / "state", registration=registration, config=config)


@pytest.mark.parametrize("registration", [overlayfs(), native()], ids=lambda registration: registration.id)
def test_the_root_is_exported(registration: Registration, memory_backed: Path) -> None:
    made = context(memory_backed, registration)
    snapshotter = registration.init(made)
    assert made.exports == {"root": str(memory_backed / "root")}
    assert snapshotter.prepare("key")  # type: ignore[attr-defined]
    assert (memory_backed / "root").stat().st_mode & 0o777 == 0o700
    assert (memory_backed / "root" / "snapshots").stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize(
    ("registration", "config"),
    [(overlayfs(), OverlayfsConfig), (native(), NativeConfig)],
    ids=["overlayfs", "native"],
)
def test_another_root(
    registration: Registration, config: type[OverlayfsConfig | NativeConfig], memory_backed: Path
) -> None:
    made = context(memory_backed, registration, config(root_path=str(memory_backed / "other")))
    registration.init(made)
    assert made.exports == {"root": str(memory_backed / "other")}
    assert (memory_backed / "other" / "metadata.db").exists()


def test_overlayfs_is_skipped_where_it_cannot_be_mounted(memory_backed: Path) -> None:
    for name in ("lower", "upper", "work", "merged"):
        (memory_backed / name).mkdir()
    words = tuple(f"{name}dir={memory_backed / name}" for name in ("lower", "upper", "work"))
    mount_all([Mount("overlay", "overlay", options=words)], memory_backed / "merged")
    try:
        with pytest.raises(SkipPlugin, match=r"cannot be mounted.*native"):
            overlayfs().init(context(memory_backed / "merged", overlayfs()))
    finally:
        unmount_all(memory_backed / "merged")


def test_the_check_leaves_nothing(memory_backed: Path) -> None:
    assert unsupported(memory_backed) == ""
    assert os.listdir(memory_backed) == []


def test_settings_of_overlayfs(memory_backed: Path) -> None:
    snapshotter = OverlayfsSnapshotter(memory_backed, mount_options=["volatile"], upperdir_label=True)
    label = {"containerd.io/snapshot/overlay.upperdir": str(memory_backed / "snapshots/1/fs")}
    snapshotter.prepare("key")
    assert snapshotter.stat("key").labels == label
    assert [info.labels for info in snapshotter.walk()] == [label]
    snapshotter.commit("base", "key")
    (mount,) = snapshotter.prepare("top", "base")
    assert mount.options[:2] == ("volatile", "index=off")
    with temporary_mount([mount]) as tree:
        (tree / "f").touch()
    snapshotter.close()


def test_mounts_are_those_of_containerd() -> None:
    assert overlay_mounts("/u", "/w", [], ["index=off"], writable=True) == [Mount("bind", "/u", "", ("rw", "rbind"))]
    assert overlay_mounts("/u", "/w", [], [], writable=False) == [Mount("bind", "/u", "", ("ro", "rbind"))]
    assert overlay_mounts("/u", "/w", ["/a"], [], writable=False) == [Mount("bind", "/a", "", ("ro", "rbind"))]
    (mount,) = overlay_mounts("/u", "/w", ["/a", "/b"], ["index=off"], writable=True)
    assert mount == Mount("overlay", "overlay", "", ("index=off", "workdir=/w", "upperdir=/u", "lowerdir=/a:/b"))
    (mount,) = overlay_mounts("/u", "/w", ["/a", "/b"], ["index=off"], writable=False)
    assert mount == Mount("overlay", "overlay", "", ("index=off", "lowerdir=/a:/b"))


def test_a_parent_at_commit_is_for_overlays(memory_backed: Path) -> None:
    copies = NativeSnapshotter(memory_backed / "native")
    for name in ("base", "other"):
        copies.prepare(f"{name}-key")
        copies.commit(name, f"{name}-key")
    copies.prepare("key")
    with pytest.raises(Unimplemented, match="rebase"):
        copies.commit("name", "key", parent="base")
    copies.close()
    made = context(memory_backed, overlayfs())
    overlays = cast("OverlayfsSnapshotter", overlayfs().init(made))
    assert "rebase" in made.capabilities
    layer(overlays, "base", "", lambda tree: (tree / "base").touch())
    layer(overlays, "other", "", lambda tree: (tree / "other").touch())
    (mount,) = overlays.prepare("key")
    (Path(mount.source) / "own").touch()
    with pytest.raises(NotFound):
        overlays.commit("name", "key", parent="none")
    with pytest.raises(FailedPrecondition):
        overlays.commit("name", "key", parent="key")
    overlays.sync(["key"])
    overlays.commit("name", "key", parent="base")
    assert overlays.stat("name").parent == "base"
    with pytest.raises(FailedPrecondition, match="built on it"):
        overlays.remove("base")
    with temporary_mount(overlays.view("view", "name")) as tree:
        assert sorted(os.listdir(tree)) == ["base", "own"]
    overlays.prepare("on-base", "base")
    with pytest.raises(InvalidArgument, match="another parent"):
        overlays.commit("wrong", "on-base", parent="other")
    overlays.commit("right", "on-base", parent="base")
    overlays.close()


def test_what_a_crash_left_is_reconciled(memory_backed: Path) -> None:
    snapshotter = OverlayfsSnapshotter(memory_backed)
    layer(snapshotter, "base", "", lambda tree: (tree / "f").write_text("kept"))
    snapshotter.prepare("active", "base")
    snapshotter.close()
    snapshots = memory_backed / "snapshots"
    (snapshots / "new-half" / "fs").mkdir(parents=True)
    (snapshots / "3" / "fs").mkdir(parents=True)
    shutil.rmtree(snapshots / "2")
    again = OverlayfsSnapshotter(memory_backed)
    assert sorted(os.listdir(snapshots)) == ["1", "2"]
    with temporary_mount(again.mounts("active")) as tree:
        assert (tree / "f").read_text() == "kept"
    assert again.prepare("next", "base")
    again.close()


def test_a_removed_tree_stays_until_cleanup(memory_backed: Path) -> None:
    for sync_remove, left in ((False, ["1"]), (True, [])):
        snapshotter = OverlayfsSnapshotter(memory_backed / str(sync_remove), sync_remove=sync_remove)
        snapshotter.prepare("key")
        snapshotter.remove("key")
        assert os.listdir(memory_backed / str(sync_remove) / "snapshots") == left
        snapshotter.cleanup()
        assert os.listdir(memory_backed / str(sync_remove) / "snapshots") == []
        snapshotter.close()


def test_a_snapshot_in_the_making_is_no_waste(memory_backed: Path) -> None:
    """A cleanup at any moment of a preparation leaves it alone."""
    snapshotter = OverlayfsSnapshotter(memory_backed)
    done = Event()

    def clean() -> None:
        while not done.is_set():
            snapshotter.cleanup()

    with ThreadPoolExecutor(4) as pool:
        cleaners = [pool.submit(clean) for _ in range(2)]
        try:
            preparations = [
                pool.submit(snapshotter.prepare, f"key{n}") for n in range(count("prepared beside cleanups"))
            ]
            assert all(os.path.isdir(each.result()[0].source) for each in preparations)
        finally:
            done.set()
        for cleaner in cleaners:
            cleaner.result()
    snapshotter.close()


def test_cleanup_removes_what_is_still_mounted(memory_backed: Path) -> None:
    snapshotter = OverlayfsSnapshotter(memory_backed)
    snapshotter.prepare("key")
    mount_all([Mount("tmpfs", "tmpfs")], memory_backed / "snapshots/1/fs")
    snapshotter.remove("key")
    snapshotter.cleanup()
    assert os.listdir(memory_backed / "snapshots") == []
    snapshotter.close()


def test_ids_are_never_used_twice(memory_backed: Path) -> None:
    snapshotter = OverlayfsSnapshotter(memory_backed)
    snapshotter.prepare("key")
    snapshotter.remove("key")
    (mount,) = snapshotter.prepare("key")
    assert mount.source == str(memory_backed / "snapshots/2/fs")
    snapshotter.close()


def test_records_of_a_later_version_are_left_alone(memory_backed: Path) -> None:
    OverlayfsSnapshotter(memory_backed).close()
    with sqlite3.connect(memory_backed / "metadata.db") as database:
        database.execute("PRAGMA user_version = 99")
    database.close()
    with pytest.raises(FailedPrecondition, match="schema 99"):
        OverlayfsSnapshotter(memory_backed)


def test_a_failed_prepare_leaves_nothing(memory_backed: Path) -> None:
    snapshotter = OverlayfsSnapshotter(memory_backed)
    snapshotter.prepare("key")
    with pytest.raises(Exception, match="exists"):
        snapshotter.prepare("key")
    assert os.listdir(memory_backed / "snapshots") == ["1"]
    snapshotter.close()


def test_a_full_disk_still_lets_go(memory_backed: Path) -> None:
    mount_all([Mount("tmpfs", "tmpfs", options=("size=4m",))], memory_backed)
    try:
        snapshotter = OverlayfsSnapshotter(memory_backed)
        snapshotter.prepare("large")
        with temporary_mount(snapshotter.mounts("large")) as tree, pytest.raises(OSError, match="No space"):
            (tree / "f").write_bytes(bytes(8 << 20))
        with pytest.raises(ResourceExhausted):
            for number in range(500):
                snapshotter.prepare(f"key-{number}" * 100)
        snapshotter.remove("large")
        snapshotter.cleanup()
        assert snapshotter.prepare("again")
        assert (memory_backed / "reserve").stat().st_blocks * 512 == 1 << 20
        snapshotter.close()
    finally:
        unmount_all(memory_backed)


def test_after_close_nothing_is_lost_but_the_connection(memory_backed: Path) -> None:
    snapshotter = OverlayfsSnapshotter(memory_backed)
    snapshotter.close()
    with pytest.raises(Unavailable):
        snapshotter.prepare("key")
