"""Snapshots with mapped ids: what lies on disk as root is another's on the host, and nobody's files change owner."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest
from corten.errors import InvalidArgument, Unimplemented
from corten.linux import idmaps
from corten.linux.mount import temporary_mount
from corten.testing.context import FakeContext
from corten.testing.snapshot_trees import layer
from corten.zygote.client import Zygote
from corten_snapshotters.native import NativeSnapshotter
from corten_snapshotters.overlayfs import OverlayfsSnapshotter
from corten_snapshotters.registration import OverlayfsConfig, overlayfs
from hypothesis import given
from hypothesis import strategies as st

pytestmark = pytest.mark.integration
MAPS = {"containerd.io/snapshot/uidmapping": "0:100000:65536", "containerd.io/snapshot/gidmapping": "0:200000:65536"}


@pytest.fixture(scope="module")
def workers() -> Iterator[Zygote]:
    zygote = Zygote.launch(["corten_snapshotters.remapping"])
    yield zygote
    zygote.close()


def made(root: Path, workers: Zygote, slow_chown: bool = False) -> tuple[OverlayfsSnapshotter, FakeContext]:
    config = OverlayfsConfig(slow_chown=slow_chown)
    context = FakeContext(root / "root", root / "state", registration=overlayfs(), config=config, workers=workers)
    return cast("OverlayfsSnapshotter", overlayfs().init(context)), context


def chain(snapshotter: OverlayfsSnapshotter) -> None:
    def base(tree: Path) -> None:
        (tree / "etc").mkdir()
        (tree / "etc/passwd").write_text("root")
        (tree / "home").mkdir()
        os.chown(tree / "home", 1000, 1001)

    layer(snapshotter, "base", "", base)
    layer(snapshotter, "top", "base", lambda tree: (tree / "new").touch())


def owner(path: Path) -> tuple[int, int]:
    return path.stat().st_uid, path.stat().st_gid


def test_capabilities(memory_backed: Path, workers: Zygote) -> None:
    snapshotter, context = made(memory_backed / "a", workers)
    snapshotter._find_out()
    assert set(context.capabilities) == {"rebase", "only-remap-ids", "remap-ids"}
    _, slow = made(memory_backed / "b", workers, slow_chown=True)
    assert "only-remap-ids" not in slow.capabilities


@pytest.mark.parametrize("parent", ["base", "top"])
def test_owners_are_shifted(parent: str, memory_backed: Path, workers: Zygote) -> None:
    snapshotter, _ = made(memory_backed, workers)
    chain(snapshotter)
    (mount,) = snapshotter.prepare("key", parent, MAPS)
    assert mount.options[:2] == ("uidmap=0:100000:65536", "gidmap=0:200000:65536")
    with temporary_mount([mount]) as tree:
        assert owner(tree) == (100000, 200000)
        assert owner(tree / "etc/passwd") == (100000, 200000)
        assert owner(tree / "home") == (101000, 201001)
        (tree / "etc/passwd").write_text("changed")
        assert owner(tree / "etc/passwd") == (100000, 200000)
    with temporary_mount(snapshotter.view("plain", parent)) as tree:
        assert owner(tree / "etc/passwd") == (0, 0)
        assert (tree / "etc/passwd").read_text() == "root"
    assert not [name for name in os.listdir(memory_backed / "root") if name.startswith("idmapped")]
    snapshotter.close()


def test_views_and_snapshots_without_parents(memory_backed: Path, workers: Zygote) -> None:
    snapshotter, _ = made(memory_backed, workers)
    chain(snapshotter)
    for key, parent in (("one", "base"), ("two", "top")):
        with temporary_mount(snapshotter.view(key, parent, MAPS)) as tree:
            assert owner(tree / "home") == (101000, 201001)
    with temporary_mount(snapshotter.prepare("empty", "", MAPS)) as tree:
        assert owner(tree) == (100000, 200000)
    snapshotter.close()


def test_what_is_refused(memory_backed: Path, workers: Zygote) -> None:
    snapshotter, _ = made(memory_backed, workers)
    (uids, gids) = MAPS
    for labels, words in (
        ({uids: "0:1:1"}, "both labels"),
        ({uids: "1:1:1", gids: "0:1:1"}, "container's root"),
        ({uids: "0:1", gids: "0:1:1"}, "CONTAINER:HOST:SIZE"),
        ({uids: "0:4294967295:1", gids: "0:1:1"}, "beyond the last id"),
    ):
        with pytest.raises(InvalidArgument, match=words):
            snapshotter.prepare("key", "", labels)
    snapshotter.close()
    copies = NativeSnapshotter(memory_backed / "native")
    with pytest.raises(Unimplemented, match="remap-ids"):
        copies.prepare("key", labels=MAPS)
    copies.close()


@given(st.text("0123456789:,-+x ", max_size=40))
def test_maps_are_read_or_refused(text: str) -> None:
    try:
        ranges = idmaps.parse(text)
    except InvalidArgument:
        return
    assert len(ranges) == text.count(",") + 1
    assert all(each.size and max(each.container, each.host) + each.size <= idmaps.MAX_ID for each in ranges)
