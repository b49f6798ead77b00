"""A bench for each test, closed at its end."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from metadata.doubles import Bench


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path / "metadata")
    yield made
    made.store.close()
