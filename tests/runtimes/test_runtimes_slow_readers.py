"""The fault matrix's readers: plain FIFOs that are read slowly, not any more, or never, with every shim."""

import asyncio
import fcntl
import os
import signal
import termios
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from corten.contracts.runtime import Status, Stdio
from corten.errors import NotFound
from runtimes.conftest import over
from runtimes.world import NAMESPACE, Reader, World, alive, eventually, process, shim_processes

pytestmark = pytest.mark.integration
NUMBERS = b"".join(b"%d\n" % number for number in range(1, 400001))
"""More than pipes and buffers on the way hold."""
PRINT = f"seq {len(NUMBERS.splitlines())}; exit 5"
PIECE, PAUSE = 16 * 1024, 0.003


class SlowReader:
    """A client that takes a piece now and then; none at all while it is `stalled`."""

    def __init__(self, path: str) -> None:
        self.path, self.data, self.stalled = path, b"", False
        self.fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        self._task = asyncio.create_task(self._read())

    @property
    def waiting(self) -> int:
        """Bytes that the kernel has for it."""
        return int.from_bytes(fcntl.ioctl(self.fd, termios.FIONREAD, bytes(4)), "little")

    async def end(self) -> bytes:
        """All of it, at its end."""
        async with asyncio.timeout(60):
            await self._task
        return self.data

    async def _read(self) -> None:
        while True:
            await asyncio.sleep(PAUSE)
            if self.stalled:
                continue
            with suppress(BlockingIOError):
                piece = os.read(self.fd, PIECE)
                if not piece and self.data:
                    return
                self.data += piece

    def leave(self) -> None:
        """Go away, for good."""
        self._task.cancel()
        os.close(self.fd)


async def _printing(runtime: Any, world: World, path: str, script: str = PRINT, **changes: Any) -> Any:
    options = world.options("/bin/sh", "-c", script, stdio=Stdio(stdout=path, stderr="/dev/null"), **changes)
    task = await runtime.create(NAMESPACE, world.id(), options)
    await task.start()
    return task


async def _nothing_else_waits(runtime: Any, world: World, slow: Any) -> None:
    """Other containers live their lives, and the slow one answers."""
    out = Reader(world.fifo())
    other = await _printing(runtime, world, out.path, "echo other; exit 3")
    async with asyncio.timeout(20):
        assert (await other.wait()).status == 3
        await other.delete()
        assert await out.end() == b"other\n"
        assert (await slow.state()).status == Status.RUNNING
        said = Reader(world.fifo())
        await slow.exec("beside", process(["/bin/echo", "beside"]), Stdio(stdout=said.path, stderr="/dev/null"))
        await slow.start("beside")
        assert (await slow.wait("beside")).status == 0
        await slow.delete("beside")
        assert await said.end() == b"beside\n"


async def _full(reader: SlowReader) -> int:
    """Wait until no more goes into its FIFO; how much is in it."""
    before = -1
    while reader.waiting != before or not before:
        before = reader.waiting
        await asyncio.sleep(0.2)
    return before


def _parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


@pytest.mark.parametrize("private_pids", [True, False], ids=["own-pids", "shared-pids"])
async def test_a_slow_reader_gets_all_over_a_restart(shims: Any, world: World, private_pids: bool) -> None:
    reader = SlowReader(world.fifo())
    task = await _printing(shims, world, reader.path, private_pids=private_pids)
    await eventually(lambda: len(reader.data) > PIECE)
    reader.stalled = True
    await _full(reader)
    await _nothing_else_waits(shims, world, task)
    await shims.close()
    reader.stalled = False
    again = await world.runtime()
    found = await again.get(NAMESPACE, task.id)
    await _nothing_else_waits(again, world, found)
    data = await reader.end() if private_pids else b""
    assert (await asyncio.wait_for(found.wait(), 60)).status == 5
    assert (await found.delete()).status == 5
    assert (data or await reader.end()) == NUMBERS
    await world.left_nothing()
    await again.close()


@pytest.mark.parametrize("victim", ["shim", "worker", "container"])
async def test_what_the_kernel_had_taken_survives_a_kill(shims: Any, world: World, victim: str) -> None:
    reader = SlowReader(world.fifo())
    task = await _printing(shims, world, reader.path)
    await eventually(lambda: len(reader.data) > PIECE)
    reader.stalled = True
    await _full(reader)
    keeper = _parent(task.pid)
    if victim == "worker":
        with suppress(NotFound):
            await task.state("none")  # a worker comes for whoever asks
        workers = shim_processes(keeper)[1:]
        if not workers:
            pytest.skip("this shim has no workers")
        os.kill(workers[0], signal.SIGKILL)
    else:
        os.kill(keeper if victim == "shim" else task.pid, signal.SIGKILL)
    await eventually(lambda: not alive(task.pid), 20)
    taken = len(reader.data) + reader.waiting
    reader.stalled = False
    assert (await asyncio.wait_for(task.wait(), 30)).status == 137
    with suppress(NotFound):  # that of a lost shim is removed
        assert (await task.delete()).status == 137
    data = await reader.end()
    assert len(data) >= taken
    assert NUMBERS.startswith(data), "what came has no hole"
    await world.left_nothing()


@pytest.mark.parametrize("removed", [False, True], ids=["left", "removed"])
async def test_a_reader_that_vanishes_holds_up_its_own_container_alone(shims: Any, world: World, removed: bool) -> None:
    reader = SlowReader(world.fifo())
    task = await _printing(shims, world, reader.path)
    await eventually(lambda: len(reader.data) > PIECE)
    reader.leave()
    if removed:
        os.unlink(reader.path)
    await asyncio.sleep(0.3)
    await _nothing_else_waits(shims, world, task)
    await shims.close()
    again = await world.runtime()
    found = await again.get(NAMESPACE, task.id)
    await _nothing_else_waits(again, world, found)
    async with asyncio.timeout(40):
        await found.kill(signal.SIGKILL)
        assert (await found.wait()).status == 137
        assert (await found.delete()).status == 137
    await world.left_nothing()
    await over(world, again)


async def test_what_ends_without_a_reader_has_its_exit_code(shims: Any, world: World) -> None:
    reader = SlowReader(world.fifo())
    task = await _printing(shims, world, reader.path, "echo a line; sleep 0.3; seq 1000; exit 9")
    await eventually(lambda: bool(reader.data))
    reader.leave()
    async with asyncio.timeout(40):
        assert (await task.wait()).status == 9
        assert (await task.delete()).status == 9
    await world.left_nothing()
