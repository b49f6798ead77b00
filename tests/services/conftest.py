"""Contexts for the plugins of this package, on folders and pools of their own."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from corten.testing.context import FakeContext
from services.doubles import MakeContext
from services.world import MakeWorld, World, open_world


@pytest.fixture
async def make_context(tmp_path: Path) -> AsyncIterator[MakeContext]:
    made: list[FakeContext] = []

    def make(**arguments: Any) -> FakeContext:
        made.append(FakeContext(tmp_path / "root", tmp_path / "state", **arguments))
        return made[-1]

    yield make
    for context in made:
        await context.close()


@pytest.fixture
def make_world(make_context: MakeContext, tmp_path: Path) -> Iterator[MakeWorld]:
    worlds: list[World] = []

    def make(**fields: Any) -> World:
        worlds.append(open_world(tmp_path / f"world{len(worlds)}", make_context, **fields))
        return worlds[-1]

    yield make
    for world in worlds:
        world.metadata.close()
