"""The copier for shims that keep no logs: killed, started again, and gone when it has nothing to do."""

import asyncio
import contextlib
import os
import shutil
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from corten.contracts.runtime import Stdio
from corten_runtimes.config import RuncConfig
from runtimes.conftest import over
from runtimes.logs import content
from runtimes.world import NAMESPACE, Reader, World, eventually

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(shutil.which("containerd-shim-runc-v2") is None, reason="no containerd-shim-runc-v2 on PATH"),
]


@pytest.fixture
async def foreign(world: World) -> AsyncIterator[Any]:
    world.config = RuncConfig(shim="binary")
    runtime = await world.runtime()
    yield runtime
    await over(world, runtime)


def copiers(world: World) -> list[int]:
    """Pids of the copiers of a world."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            words = entry.read_bytes().split(b"\0")
            if words[0] == b"corten-copier" and words[1].startswith(bytes(world.state)):
                found.append(int(entry.parent.name))
    return found


async def _counting(runtime: Any, world: World, name: str) -> Any:
    script = "i=0; while [ $i -lt 400 ]; do echo $i; i=$((i+1)); sleep 0.005; done"
    stdio = Stdio("", f"cri://{world.folder}/{name}.log", f"cri://{world.folder}/{name}.log")
    task = await runtime.create(NAMESPACE, world.id(), world.options("/bin/sh", "-c", script, stdio=stdio))
    await task.start()
    return task


async def test_one_copier_serves_all_tasks_and_ends_without_any(foreign: Any, world: World) -> None:
    tasks = [await _counting(foreign, world, name) for name in ("a", "b")]
    assert len(copiers(world)) == 1
    for task in tasks:
        await task.kill(9)
        await task.wait()
        await task.delete()
    await eventually(lambda: not copiers(world), 30)


@pytest.mark.parametrize("daemon", [True, False], ids=["daemon there", "daemon away"])
async def test_a_killed_copier_is_followed_by_one_that_goes_on(foreign: Any, world: World, daemon: bool) -> None:
    task = await _counting(foreign, world, "a")
    log = world.folder / "a.log"
    await eventually(lambda: log.stat().st_size > 1000)
    if not daemon:
        await foreign.close()
    (killed,) = copiers(world)
    os.kill(killed, signal.SIGKILL)
    await asyncio.sleep(0.3)
    runtime = foreign if daemon else await world.runtime()
    try:
        task = await runtime.get(NAMESPACE, task.id)
        await eventually(lambda: copiers(world) not in ([], [killed]))
        out = Reader(world.fifo())
        await task.attach(Stdio("", out.path, ""))
        assert (await task.wait()).status == 0
        assert (await out.end()).endswith(b"399\n")
        await task.delete()
    finally:
        if not daemon:
            await runtime.close()
    lines = [int(line) for line in content(log.read_bytes(), "stdout").split()]
    assert lines == list(range(400)), "what it had not read waited in the FIFO"


async def test_bundles_keep_nothing_of_processes_that_were_deleted(foreign: Any, world: World) -> None:
    task = await _counting(foreign, world, "a")
    assert list(world.tasks.glob("*/streams/init/request"))
    await task.kill(9)
    await task.wait()
    await task.delete()
    assert world.remains() == []
