"""A directory in memory: what these tests write is synced often, and the disk is slow and shared."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from corten.linux.mount import unmount_all
from corten.zygote.client import Zygote
from corten_differs.walking import WalkingDiffer


@pytest.fixture
def memory_backed() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="corten-test-", dir="/dev/shm"))
    yield path
    unmount_all(path)
    shutil.rmtree(path)


@pytest.fixture(scope="session")
def workers() -> Iterator[Zygote]:
    zygote = Zygote.launch(["corten_differs.unpack", "corten_differs.settling", "corten_differs.pack"])
    yield zygote
    zygote.close()


@pytest.fixture
def differ(workers: Zygote, tmp_path: Path) -> WalkingDiffer:
    return WalkingDiffer(workers, tmp_path / "mount")
