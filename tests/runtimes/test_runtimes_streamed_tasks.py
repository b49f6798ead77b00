"""Tasks whose stdio goes by streams of their shim, read by the copier: logs, execs, attaching, over restarts."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
from corten.contracts.runtime import Stdio
from corten.errors import Unimplemented
from runtimes.conftest import over
from runtimes.logs import content
from runtimes.test_runtimes_copier import copiers
from runtimes.world import NAMESPACE, Reader, World, eventually, process

pytestmark = pytest.mark.integration


@pytest.fixture
async def own(world: World) -> AsyncIterator[Any]:
    runtime = await world.runtime()
    yield runtime
    await over(world, runtime)


async def _run(runtime: Any, world: World, script: str, *, stdin: str = "", terminal: bool = False) -> Any:
    log = f"cri://{world.folder}/0.log?max_line=16384"
    stdio = Stdio(stdin, log, "" if terminal else log, terminal)
    options = replace(world.options("/bin/sh", "-c", script, stdio=stdio), streaming=True)
    task = await runtime.create(NAMESPACE, world.id(), options)
    await task.start()
    return task


def _log(world: World, stream: str = "stdout") -> bytes:
    return content((world.folder / "0.log").read_bytes(), stream)


async def test_the_log_has_all_when_the_task_is_gone(own: Any, world: World) -> None:
    task = await _run(own, world, "seq 200000; echo oops >&2; exit 4")
    assert (await task.wait()).status == 4
    state = await task.state()
    assert state.stdio.stdout.startswith("cri://"), "clients see what they asked for"
    await task.delete()
    assert _log(world) == b"".join(b"%d\n" % number for number in range(1, 200001))
    assert _log(world, "stderr") == b"oops\n"
    await world.left_nothing()


async def test_a_terminal_is_logged(own: Any, world: World) -> None:
    task = await _run(own, world, "[ -t 0 ] && echo a tty", terminal=True)
    assert (await task.wait()).status == 0
    await task.delete()
    assert _log(world) == b"a tty\n"


async def test_execs_have_fifos_of_their_clients(own: Any, world: World) -> None:
    task = await _run(own, world, "sleep 600")
    out, err, stdin = Reader(world.fifo()), Reader(world.fifo()), world.fifo()
    await task.exec("e", process(["/bin/sh", "-c", "cat; echo no >&2; exit 6"]), Stdio(stdin, out.path, err.path))
    writer = os.open(stdin, os.O_RDWR | os.O_NONBLOCK)
    await task.start("e")
    os.write(writer, b"in and out\n")
    await eventually(lambda: out.data == b"in and out\n")
    os.close(writer)
    await task.close_stdin("e")
    assert (await task.wait("e")).status == 6
    await task.delete("e")
    assert (await out.end(), await err.end()) == (b"in and out\n", b"no\n")


async def test_those_who_attach(own: Any, world: World) -> None:
    task = await _run(own, world, "while read word; do echo $word; done; echo over", stdin="cri:stdin")
    reader, stdin = Reader(world.fifo()), world.fifo()
    writer = os.open(stdin, os.O_RDWR)
    await task.attach(Stdio(stdin, reader.path, ""))
    os.write(writer, b"one\n")
    await eventually(lambda: reader.data == b"one\n")
    os.close(writer)
    await task.close_stdin()
    await task.wait()
    assert await reader.end() == b"one\nover\n"
    await task.delete()
    assert _log(world) == b"one\nover\n"


async def test_nothing_is_lost_while_the_daemon_is_away(own: Any, world: World) -> None:
    task = await _run(own, world, "i=0; while [ $i -lt 300 ]; do echo $i; i=$((i+1)); sleep 0.005; done")
    await own.close()
    await eventually(lambda: b"\n250\n" in _log(world), 30)
    again = await world.runtime()
    found = await again.get(NAMESPACE, task.id)
    await found.wait()
    await found.delete()
    assert _log(world) == b"".join(b"%d\n" % number for number in range(300))
    await world.left_nothing()
    await again.close()


async def test_a_copier_that_is_killed_is_followed_by_another(own: Any, world: World) -> None:
    task = await _run(own, world, "read word; echo one; read word; echo two", stdin="cri:stdin")
    stdin = world.fifo()
    writer = os.open(stdin, os.O_RDWR)
    await task.attach(Stdio(stdin))
    os.write(writer, b"1\n")
    await eventually(lambda: _log(world) == b"one\n")
    (pid,) = copiers(world)
    os.kill(pid, signal.SIGKILL)
    await eventually(lambda: copiers(world) not in ([], [pid]))
    await task.attach(Stdio(stdin))
    os.write(writer, b"2\n")
    async with asyncio.timeout(20):
        await task.wait()
    await task.delete()
    os.close(writer)
    assert _log(world) == b"one\ntwo\n"


async def test_a_program_cannot_take_streamed_output(own: Any, world: World) -> None:
    uri = "binary:///bin/true"
    options = replace(world.options("/bin/true", stdio=Stdio("", uri, uri)), streaming=True)
    with pytest.raises(Unimplemented, match=uri):
        await own.create(NAMESPACE, world.id(), options)
    await world.left_nothing()
