"""A directory in memory: what these tests write is synced often, and the disk is slow and shared."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from corten.linux.mount import unmount_all


@pytest.fixture
def memory_backed() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="corten-test-", dir="/dev/shm"))
    yield path
    unmount_all(path)
    shutil.rmtree(path)
