"""What a power loss may do to committed trees is found before they are used, and can be put right."""

import os
import shutil
import sqlite3
from pathlib import Path

import pytest
from corten.errors import DataLoss, FailedPrecondition
from corten.linux.mount import temporary_mount
from corten.testing.snapshot_trees import layer
from corten_snapshotters.overlayfs import OverlayfsSnapshotter
from peers import wait_until

pytestmark = pytest.mark.integration


def built(root: Path) -> OverlayfsSnapshotter:
    """A chain of two, measured."""
    snapshotter = OverlayfsSnapshotter(root)
    layer(snapshotter, "base", "", lambda tree: (tree / "f").write_text("precious"))
    layer(snapshotter, "top", "base", lambda tree: (tree / "g").write_text("too"))
    with sqlite3.connect(root / "metadata.db") as looking:
        query = "SELECT count(*) FROM snapshots WHERE bytes >= 0"
        wait_until(lambda: looking.execute(query).fetchone() == (2,), "both trees are measured")
    return snapshotter


def power_loss(snapshotter: OverlayfsSnapshotter, root: Path) -> None:
    """As if the machine had gone down: no mark of a clean stop, and another boot."""
    snapshotter.close()
    (root / "clean").unlink()
    (root / "boot").write_text("another boot\n")


def test_a_truncated_file_is_found_and_repaired(memory_backed: Path) -> None:
    power_loss(built(memory_backed), memory_backed)
    os.truncate(memory_backed / "snapshots/1/fs/f", 0)
    snapshotter = OverlayfsSnapshotter(memory_backed)
    for _ in range(2):
        with pytest.raises(DataLoss, match="pull the image again"):
            snapshotter.stat("base")
    with pytest.raises(DataLoss):
        snapshotter.prepare("container", "top")
    snapshotter.close()
    again = OverlayfsSnapshotter(memory_backed)
    with pytest.raises(DataLoss):  # a clean restart does not make it better
        again.stat("top")
    with temporary_mount(again.prepare("anew")) as tree:
        (tree / "f").write_text("precious")
    with pytest.raises(FailedPrecondition, match="same parent"):
        again.replace("base", "top")
    again.replace("base", "anew")
    assert [info.name for info in again.walk()] == ["base", "top"]
    with temporary_mount(again.prepare("container", "top")) as tree:
        assert (tree / "f").read_text() == "precious" and (tree / "g").read_text() == "too"
    again.prepare("more")
    with pytest.raises(FailedPrecondition, match="not damaged"):
        again.replace("base", "more")
    again.cleanup()
    assert sorted(os.listdir(memory_backed / "snapshots")) == ["1", "2", "4", "5"]
    again.close()


def test_sound_trees_are_used_after_a_look(memory_backed: Path) -> None:
    power_loss(built(memory_backed), memory_backed)
    snapshotter = OverlayfsSnapshotter(memory_backed)
    assert "2 suspects" in repr(snapshotter._soundness)
    assert snapshotter.prepare("container", "top")
    assert "0 suspects" in repr(snapshotter._soundness)
    snapshotter.close()


def test_a_kill_on_a_running_machine_raises_no_doubt(memory_backed: Path) -> None:
    built(memory_backed).close()
    (memory_backed / "clean").unlink()
    snapshotter = OverlayfsSnapshotter(memory_backed)
    assert "0 suspects" in repr(snapshotter._soundness)
    snapshotter.close()


def test_a_committed_tree_that_is_gone_is_damage(memory_backed: Path) -> None:
    built(memory_backed).close()
    shutil.rmtree(memory_backed / "snapshots/2")
    snapshotter = OverlayfsSnapshotter(memory_backed)
    with pytest.raises(DataLoss):
        snapshotter.stat("top")
    assert snapshotter.stat("base")
    snapshotter.prepare("anew", "base")
    snapshotter.replace("top", "anew")
    assert snapshotter.prepare("container", "top")
    snapshotter.close()


def test_records_of_before_are_taken_over(memory_backed: Path) -> None:
    built(memory_backed).close()
    with sqlite3.connect(memory_backed / "metadata.db") as db:
        db.executescript(
            "ALTER TABLE snapshots DROP COLUMN bytes; ALTER TABLE snapshots DROP COLUMN state; PRAGMA user_version = 1;"
        )
    snapshotter = OverlayfsSnapshotter(memory_backed)
    assert snapshotter.stat("top").parent == "base"
    layer(snapshotter, "more", "top", lambda tree: (tree / "h").touch())
    wait_until(lambda: not snapshotter._records.unmeasured(), "what was there before is measured with the next commit")
    assert snapshotter.usage("base").inodes == 2
    snapshotter.close()
