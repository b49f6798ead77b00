"""The own shim between bursts of calls: its worker is gone, and nothing that it held is lost by that."""

import asyncio
import os
import signal
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from corten.contracts.runtime import Status, Stdio
from runtimes.world import NAMESPACE, Reader, World, alive, eventually, process, shim_processes

pytestmark = pytest.mark.integration


async def _run(runtime: Any, world: World, *args: str, stdio: Stdio, **changes: Any) -> Any:
    task = await runtime.create(NAMESPACE, world.id(), world.options(*args, stdio=stdio, **changes))
    await task.start()
    return task


def _keeper(task: Any) -> int:
    return int(Path(f"/proc/{task.pid}/stat").read_text().rpartition(")")[2].split()[1])


async def _parked(task: Any) -> None:
    keeper = _keeper(task)
    await eventually(lambda: shim_processes(keeper) == [keeper])


async def test_all_calls_find_what_was_left(runtime: Any, world: World) -> None:
    task = await _run(runtime, world, "/bin/sleep", "600", stdio=Stdio())
    waiting = asyncio.create_task(task.wait())
    for _ in range(2):
        await _parked(task)
        await task.exec("e", process(["/bin/sh", "-c", "exit 3"]), Stdio())
        await _parked(task)
        await task.start("e")
        assert (await task.wait("e")).status == 3
        await _parked(task)
        await task.delete("e")
        await _parked(task)
        assert (await task.state()).status == Status.RUNNING
        await _parked(task)
        assert (await task.stats()) is not None
    await _parked(task)
    await task.kill(signal.SIGKILL)
    assert (await asyncio.wait_for(waiting, 10)).status == 137
    await task.delete()


async def test_an_exit_while_it_is_parked_is_told(runtime: Any, world: World) -> None:
    task = await _run(runtime, world, "/bin/sleep", "600", stdio=Stdio())
    waiting = asyncio.create_task(task.wait())
    await _parked(task)
    os.kill(task.pid, signal.SIGKILL)
    assert (await asyncio.wait_for(waiting, 10)).status == 137
    await task.delete()


@pytest.mark.parametrize("private_pids", [True, False], ids=["direct", "piped"])
async def test_streams_stay_open(runtime: Any, world: World, private_pids: bool) -> None:
    stdin, out = world.fifo(), Reader(world.fifo())
    stdio = Stdio(stdin=stdin, stdout=out.path)
    task = await _run(runtime, world, "/bin/cat", stdio=stdio, private_pids=private_pids)
    exec_in, exec_out = world.fifo(), Reader(world.fifo())
    await task.exec("e", process(["/bin/cat"]), Stdio(stdin=exec_in, stdout=exec_out.path))
    await task.start("e")
    for word in (b"one ", b"two ", b"three "):
        await _parked(task)
        for path in (stdin, exec_in):
            Path(path).write_bytes(word)
        await eventually(partial(_end_with, word, out, exec_out))
    await _parked(task)
    await task.close_stdin("e")
    assert await exec_out.end() == b"one two three "
    assert (await task.wait("e")).status == 0
    await _parked(task)
    await task.close_stdin()
    assert await out.end() == b"one two three "
    assert (await task.wait()).status == 0
    await task.delete()


def _end_with(word: bytes, *readers: Reader) -> bool:
    return all(reader.data.endswith(word) for reader in readers)


async def test_a_terminal_stays_and_is_resized(runtime: Any, world: World) -> None:
    stdin, out = world.fifo(), Reader(world.fifo())
    stdio = Stdio(stdin=stdin, stdout=out.path, terminal=True)
    task = await _run(runtime, world, "/bin/sh", "-c", "read x; stty size; read x; echo bye", stdio=stdio)
    writer = os.open(stdin, os.O_RDWR)
    await _parked(task)
    await task.resize_pty(101, 47)
    await _parked(task)
    os.write(writer, b"\n")
    await eventually(lambda: b"47 101" in out.data)
    await _parked(task)
    os.write(writer, b"\n")
    await eventually(lambda: b"bye" in out.data)
    os.close(writer)
    assert (await task.wait()).status == 0
    await task.delete()


async def test_a_log_goes_on(runtime: Any, world: World) -> None:
    path = world.folder / "0.log"
    uri = f"cri://{path}?max_line=16384"
    task = await _run(runtime, world, "/bin/sh", "-c", "printf 'half '; sleep 1; echo line", stdio=Stdio("", uri, uri))
    await eventually(path.exists)
    await _parked(task)
    assert (await task.wait()).status == 0
    await task.delete()
    lines = path.read_bytes().splitlines()
    assert [line.split(b" ", 3)[1:] for line in lines] == [[b"stdout", b"F", b"half line"]]


async def test_a_second_daemon_finds_it(world: World) -> None:
    first = await world.runtime()
    task = await _run(first, world, "/bin/sleep", "600", stdio=Stdio())
    for _ in range(2):
        await _parked(task)
        await first.close()
        await _parked(task)
        first = await world.runtime()
        task = await first.get(NAMESPACE, task.id)
        assert (await task.state()).status == Status.RUNNING
    await task.kill(signal.SIGKILL)
    assert (await task.wait()).status == 137
    await task.delete()
    await first.close()
    await world.left_nothing()


async def test_without_its_keeper_a_worker_ends(runtime: Any, world: World) -> None:
    task = await _run(runtime, world, "/bin/sleep", "600", stdio=Stdio())
    keeper, worker = shim_processes(_keeper(task))
    os.kill(keeper, signal.SIGKILL)
    await eventually(partial(_gone, keeper, worker))
    await eventually(lambda: not alive(task.pid))


def _gone(*pids: int) -> bool:
    return not any(map(alive, pids))
