"""The differ walking against the conformance suite, with blobs as files and as nothing but bytes."""

from pathlib import Path

import pytest
from corten.testing.diff import checks
from corten.testing.memory_content import MemoryContent
from corten_content._local import LocalContent
from corten_differs.walking import WalkingDiffer

pytestmark = pytest.mark.integration


@pytest.mark.parametrize("name", checks())
def test_blobs_in_memory(name: str, differ: WalkingDiffer, memory_backed: Path) -> None:
    checks()[name](differ, MemoryContent(), memory_backed)


@pytest.mark.parametrize("name", checks())
def test_blobs_in_files(name: str, differ: WalkingDiffer, memory_backed: Path, tmp_path: Path) -> None:
    checks()[name](differ, LocalContent(tmp_path / "content"), memory_backed)
