"""The three snapshotters against the conformance suite."""

from pathlib import Path

import pytest
from corten.testing.snapshots import MemorySnapshotter, checks
from corten_snapshotters.native import NativeSnapshotter
from corten_snapshotters.overlayfs import OverlayfsSnapshotter


@pytest.mark.parametrize("name", checks(mounts=False))
def test_memory(name: str) -> None:
    checks(mounts=False)[name](MemorySnapshotter())


@pytest.mark.integration
@pytest.mark.parametrize("sync_remove", [False, True])
@pytest.mark.parametrize("name", checks(mounts=True))
def test_overlayfs(name: str, sync_remove: bool, memory_backed: Path) -> None:
    snapshotter = OverlayfsSnapshotter(memory_backed, sync_remove=sync_remove)
    try:
        checks(mounts=True)[name](snapshotter)
    finally:
        snapshotter.close()


@pytest.mark.integration
@pytest.mark.parametrize("name", checks(mounts=True))
def test_native(name: str, memory_backed: Path) -> None:
    snapshotter = NativeSnapshotter(memory_backed)
    try:
        checks(mounts=True)[name](snapshotter)
    finally:
        snapshotter.close()
