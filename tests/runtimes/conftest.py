"""A zygote for the whole session, and a world with a runtime for each test."""

import asyncio
import json
import os
import shutil
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from corten.testing.runtime import NAMESPACE as CONFORMANCE
from corten.zygote.client import Zygote
from corten_runtimes.config import RuncConfig
from runtimes.world import NAMESPACE, World, folder, opened


@pytest.fixture(scope="session")
def zygote() -> Iterator[Zygote]:
    zygote = Zygote.launch(["corten_runtimes.shim.warm"])
    assert zygote.preload_failures() == {}
    yield zygote
    zygote.close()


@pytest.fixture
async def world(zygote: Zygote) -> AsyncIterator[World]:
    with folder() as path:
        async with opened(path, zygote) as world:
            yield world
            _end_shims(world)


@pytest.fixture
async def runtime(world: World) -> AsyncIterator[Any]:
    runtime = await world.runtime()
    yield runtime
    await clear(runtime)
    await runtime.close()


@pytest.fixture(params=["own", "binary"])
async def shims(world: World, request: pytest.FixtureRequest) -> AsyncIterator[Any]:
    """A runtime for each kind of shim; a test may close it."""
    if request.param == "binary":
        if shutil.which("containerd-shim-runc-v2") is None:
            pytest.skip("no containerd-shim-runc-v2 on PATH")
        world.config = RuncConfig(shim="binary")
    runtime = await world.runtime()
    yield runtime
    await over(world, runtime)


async def over(world: World, runtime: Any) -> None:
    """Take away what a test left in a runtime that it may have closed."""
    await runtime.close()
    runtime = await world.runtime()
    await clear(runtime)
    await runtime.close()


async def clear(runtime: Any) -> None:
    """Kill and delete every task that a test left."""
    for task in [*await runtime.list(NAMESPACE), *await runtime.list(CONFORMANCE)]:
        try:
            await task.kill(signal.SIGKILL)
            async with asyncio.timeout(10):
                await task.wait()
        except Exception:
            pass
        await task.delete()


def _end_shims(world: World) -> None:
    """Shims that a failed test left, each by its own record."""
    for record in world.tasks.parent.glob("*/*/bootstrap.json"):
        pid = json.loads(record.read_text()).get("corten", {}).get("pid", 0)
        if pid and Path(f"/proc/{pid}/comm").exists():
            os.kill(pid, signal.SIGKILL)
