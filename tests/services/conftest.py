"""Contexts for the plugins of this package, on folders and pools of their own."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from corten.testing.context import FakeContext

MakeContext = Callable[..., FakeContext]


@pytest.fixture
async def make_context(tmp_path: Path) -> AsyncIterator[MakeContext]:
    made: list[FakeContext] = []

    def make(**arguments: Any) -> FakeContext:
        made.append(FakeContext(tmp_path / "root", tmp_path / "state", **arguments))
        return made[-1]

    yield make
    for context in made:
        await context.close()
