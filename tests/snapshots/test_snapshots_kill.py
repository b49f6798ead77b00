"""A snapshotter that is killed at any moment starts again, with a tree for every record and no record too many."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from corten.contracts.snapshots import Kind
from corten_snapshotters.overlayfs import OverlayfsSnapshotter

pytestmark = pytest.mark.integration

BUSY = """
import os, sys
from pathlib import Path
from corten_snapshotters.overlayfs import OverlayfsSnapshotter
snapshotter = OverlayfsSnapshotter(Path(sys.argv[1]), sync_remove=True)
parent = ""
for number in range(100_000):
    name = f"layer-{os.getpid()}-{number}"
    snapshotter.prepare(f"key-{name}", parent)
    snapshotter.commit(name, f"key-{name}")
    print(name, flush=True)
    if number % 3 == 2:
        snapshotter.remove(name)
        print("-" + name, flush=True)
    else:
        parent = name if number < 30 else parent
"""


def killed_while_busy(root: Path, seconds: float) -> list[str]:
    """What a process answered before it was killed: names committed, and removed ones with a dash before them."""
    busy = subprocess.Popen([sys.executable, "-c", BUSY, str(root)], stdout=subprocess.PIPE, text=True)
    assert busy.stdout is not None
    lines = [busy.stdout.readline().strip()]
    assert lines[0]
    time.sleep(seconds)
    busy.kill()
    lines += busy.stdout.read().split()
    busy.wait()
    busy.stdout.close()
    return lines


@pytest.mark.parametrize("seconds", [0.05, 0.1, 0.2])
def test_records_and_trees_agree_after_a_kill(seconds: float, memory_backed: Path) -> None:
    said: list[str] = []
    for kills in (1, 2, 3):
        said += killed_while_busy(memory_backed, seconds)
        snapshotter = OverlayfsSnapshotter(memory_backed)
        infos = {info.name: info for info in snapshotter.walk()}
        removed = {line[1:] for line in said if line.startswith("-")}
        committed = {line for line in said if not line.startswith("-")} - removed
        # The call that each kill cut off may have happened or not; nothing else is in doubt.
        assert len(committed - set(infos)) <= kills and not removed & set(infos)
        assert all(info.kind is Kind.COMMITTED or info.name.startswith("key-") for info in infos.values())
        assert len(os.listdir(memory_backed / "snapshots")) == len(infos)
        for info in infos.values():
            if info.kind is not Kind.COMMITTED:
                snapshotter.remove(info.name)
        snapshotter.close()
