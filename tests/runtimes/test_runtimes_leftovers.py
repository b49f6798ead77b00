"""What a process that has ended leaves in its shim: nothing, not even until the collector comes by."""

import asyncio
import gc
import os
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from corten.contracts.runtime import Stdio as Wanted
from corten_runtimes.shim.loop import Loop
from corten_runtimes.shim.streaming import Streaming
from corten_runtimes.shim.streams import Stdio, Streams
from counts import count
from runtimes.world import NAMESPACE, World, process

KEPT = 600 << 10
"""Bytes that a shim may touch for good while the first execs run through it; the execs before left 3 KiB each."""


@pytest.fixture
def no_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def test_the_streams_of_an_exec_go_with_it(tmp_path: Path, no_collector: None) -> None:
    loop, folder = Loop(), str(tmp_path)
    stdio = Stdio(f"{folder}/in", f"{folder}/out", f"{folder}/err", terminal=False)
    for path in stdio[:3]:
        os.mkfifo(path)
    streams = Streams(loop, stdio, direct=False, console="", owner=(0, 0), logger=_no_logger, streaming=Streaming())
    streams.begin()
    child = os.dup(streams.child[1])
    streams.started()
    reader = os.open(stdio.stdout, os.O_RDONLY | os.O_NONBLOCK)
    os.write(child, b"said\n")
    os.close(child)
    streams.ended()
    while not streams.closed.done:
        loop.turn(1.0)
    assert os.read(reader, 100) == b"said\n"
    os.close(reader)
    left = weakref.ref(streams)
    del streams
    assert left() is None
    loop.release()


def _no_logger(uri: str) -> Any:
    raise AssertionError(uri)


@pytest.mark.integration
async def test_execs_do_not_make_the_shim_grow(runtime: Any, world: World) -> None:
    task = await runtime.create(NAMESPACE, world.id(), world.options("/bin/sleep", "1000"))
    await task.start()
    shim = psutil.Process(psutil.Process(task.pid).ppid())

    async def execs(number: int) -> None:
        for _ in range(number):
            exec_id = world.id()
            stdio = Wanted(stdout=world.fifo(), stderr=world.fifo())
            await task.exec(exec_id, process(["/bin/true"]), stdio)
            await task.start(exec_id)
            await task.wait(exec_id)
            await task.delete(exec_id)

    await execs(20)
    before = shim.memory_full_info().uss
    async with asyncio.TaskGroup() as group:
        for _ in range(4):
            group.create_task(execs(count("execs in a shim") // 4))
    assert shim.memory_full_info().uss - before < KEPT
    await task.kill(9)
    await task.wait()
    await task.delete()
