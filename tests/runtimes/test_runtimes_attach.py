"""Attaching to processes that keep a log: readers and writers that come, go, are slow, or vanish."""

import asyncio
import os
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from corten.contracts.runtime import Stdio
from corten.errors import FailedPrecondition, InvalidArgument, NotFound
from runtimes.logs import content
from runtimes.world import NAMESPACE, Reader, World, eventually, process

pytestmark = pytest.mark.integration


async def run(runtime: Any, world: World, *args: str, stdin: str = "cri:stdin", terminal: bool = False) -> Any:
    log = f"cri://{world.folder}/0.log?max_line=16384"
    stdio = Stdio(stdin, log, "" if terminal else log, terminal)
    task = await runtime.create(NAMESPACE, world.id(), world.options(*args, stdio=stdio))
    await task.start()
    return task


def log_of(world: World, stream: str = "stdout") -> bytes:
    return content((world.folder / "0.log").read_bytes(), stream)


async def end(task: Any) -> None:
    await task.kill(9)
    await task.wait()
    await task.delete()


async def test_several_get_what_is_written_from_then_on(shims: Any, world: World) -> None:
    task = await run(shims, world, "/bin/sh", "-c", "while read word; do echo $word; echo $word! >&2; done")
    first, errors, stdin = Reader(world.fifo()), Reader(world.fifo()), world.fifo()
    writer = os.open(stdin, os.O_RDWR)
    await task.attach(Stdio(stdin, first.path, errors.path))
    os.write(writer, b"one\n")
    await eventually(lambda: (first.data, errors.data) == (b"one\n", b"one!\n"))
    second = Reader(world.fifo())
    await task.attach(Stdio("", second.path, ""))
    os.write(writer, b"two\n")
    await eventually(lambda: (first.data, second.data) == (b"one\ntwo\n", b"two\n"))
    await task.kill(9)
    await task.wait()
    assert (await first.end(), await second.end(), await errors.end()) == (b"one\ntwo\n", b"two\n", b"one!\ntwo!\n")
    await task.delete()
    assert (log_of(world), log_of(world, "stderr")) == (b"one\ntwo\n", b"one!\ntwo!\n")
    os.close(writer)


async def test_stdin_stays_open_while_those_attached_come_and_go(shims: Any, world: World) -> None:
    task = await run(shims, world, "/bin/cat")
    for number in range(3):
        stdin, out = world.fifo(), Reader(world.fifo())
        writer = os.open(stdin, os.O_RDWR)
        await task.attach(Stdio(stdin, out.path, ""))
        os.write(writer, b"%d\n" % number)
        await eventually(partial(lambda out, number: out.data == b"%d\n" % number, out, number))
        os.close(writer)
        await out.leave()
    assert (await task.state()).status == "running"
    await task.close_stdin()
    assert (await task.wait()).status == 0
    await task.delete()
    assert log_of(world) == b"0\n1\n2\n"


async def test_stdin_once_ends_with_the_first_attached(shims: Any, world: World) -> None:
    task = await run(shims, world, "/bin/cat", stdin="cri:stdin?once")
    stdin, out = world.fifo(), Reader(world.fifo())
    await task.attach(Stdio(stdin, out.path, ""))
    Path(stdin).write_bytes(b"all there is")
    assert (await task.wait()).status == 0
    assert await out.end() == b"all there is"
    await task.delete()


async def test_stdin_is_held_open_before_anybody_is_attached(shims: Any, world: World) -> None:
    task = await run(shims, world, "/bin/sh", "-c", "cat; echo the end")
    await asyncio.sleep(0.2)
    assert (await task.state()).status == "running"
    await task.close_stdin()
    assert (await task.wait()).status == 0
    await task.delete()
    assert log_of(world) == b"the end\n"


async def test_input_to_a_process_that_does_not_read_waits_and_is_whole(shims: Any, world: World) -> None:
    script = "while [ ! -e /tmp/go ]; do sleep 0.02; done; cat"
    task = await run(shims, world, "/bin/sh", "-c", script, stdin="cri:stdin?once")
    stdin, data = world.fifo(), b"".join(b"%d\n" % number for number in range(200_000))
    await task.attach(Stdio(stdin, "", ""))
    writing = asyncio.create_task(asyncio.to_thread(Path(stdin).write_bytes, data))
    await asyncio.sleep(0.1)
    (world.folder / "rootfs/tmp/go").touch()
    await writing
    assert (await task.wait()).status == 0
    await task.delete()
    assert log_of(world) == data


async def test_a_terminal_is_attached_to_and_resized(shims: Any, world: World) -> None:
    script = "read x; stty size; read y; echo got $y; exit 4"
    task = await run(shims, world, "/bin/sh", "-c", script, terminal=True)
    stdin, out = world.fifo(), Reader(world.fifo())
    writer = os.open(stdin, os.O_RDWR)
    await task.attach(Stdio(stdin, out.path, "", True))
    await task.resize_pty(132, 43)
    os.write(writer, b"go\n")
    await eventually(lambda: b"43 132\r\n" in out.data)
    os.write(writer, b"it\n")
    assert (await task.wait()).status == 4
    assert (await out.end()).endswith(b"got it\r\n")
    await task.delete()
    os.close(writer)
    assert b"43 132\n" in log_of(world)


async def test_a_vanished_reader_harms_nobody(shims: Any, world: World) -> None:
    script = "i=0; while [ $i -lt 200 ]; do echo $i; i=$((i+1)); sleep 0.003; done"
    task = await run(shims, world, "/bin/sh", "-c", script)
    leaves, stays = Reader(world.fifo()), Reader(world.fifo())
    await task.attach(Stdio("", leaves.path, ""))
    await task.attach(Stdio("", stays.path, ""))
    await eventually(lambda: leaves.data)
    await leaves.leave()
    assert (await task.wait()).status == 0
    assert (await stays.end()).endswith(b"199\n")
    await task.delete()
    assert log_of(world) == b"".join(b"%d\n" % number for number in range(200))


async def test_a_reader_that_does_not_read_is_let_go(shims: Any, world: World) -> None:
    task = await run(shims, world, "/bin/sh", "-c", "while [ ! -e /tmp/go ]; do sleep 0.02; done; seq 300000")
    path, reads = world.fifo(), Reader(world.fifo())
    stuck = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    await task.attach(Stdio("", path, ""))
    await task.attach(Stdio("", reads.path, ""))
    (world.folder / "rootfs/tmp/go").touch()
    assert (await task.wait()).status == 0
    data = b"".join(b"%d\n" % number for number in range(1, 300001))
    assert await reads.end(30) == data
    await task.delete()
    assert log_of(world) == data
    taken = b""
    while piece := os.read(stuck, 1 << 20):
        taken += piece
    assert data.startswith(taken), "what it was given is in order, and then its FIFO ends"
    os.close(stuck)


async def test_one_who_may_hold_up_a_process_before_it_starts_gets_all_of_it(shims: Any, world: World) -> None:
    """For longer than others may; but once he is gone, nothing is held up."""
    stdio = Stdio("cri:stdin", "cri:", "cri:")
    task = await shims.create(NAMESPACE, world.id(), world.options("/bin/sh", "-c", "seq 300000; exit 5", stdio=stdio))
    path = world.fifo()
    waits = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    await task.attach(Stdio("", path, ""), holds_up=True)
    await task.start()
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(task.wait(), 2)
    reads = Reader(path)
    os.close(waits)
    assert (await task.wait()).status == 5
    assert await reads.end(30) == b"".join(b"%d\n" % number for number in range(1, 300001))
    await task.delete()
    gone = await shims.create(NAMESPACE, world.id(), world.options("/bin/sh", "-c", "seq 300000; exit 6", stdio=stdio))
    leaves = os.open(path := world.fifo(), os.O_RDONLY | os.O_NONBLOCK)
    await gone.attach(Stdio("", path, ""), holds_up=True)
    await gone.start()
    os.close(leaves)
    assert (await gone.wait()).status == 6
    await gone.delete()


async def test_much_output_reaches_a_reader_whole(shims: Any, world: World) -> None:
    task = await run(shims, world, "/bin/sh", "-c", "while [ ! -e /tmp/go ]; do sleep 0.02; done; seq 400000")
    out = Reader(world.fifo())
    await task.attach(Stdio("", out.path, ""))
    (world.folder / "rootfs/tmp/go").touch()
    await task.wait()
    assert await out.end(30) == b"".join(b"%d\n" % number for number in range(1, 400001))
    await task.delete()


async def test_an_exec_is_attached_to(shims: Any, world: World) -> None:
    task = await run(shims, world, "/bin/sleep", "60", stdin="")
    await task.exec("e", process(["/bin/cat"]), Stdio("cri:stdin?once", "cri:", "cri:"))
    with pytest.raises(FailedPrecondition):
        await task.attach(Stdio("", world.fifo(), ""), "e")
    await task.start("e")
    stdin, out = world.fifo(), Reader(world.fifo())
    await task.attach(Stdio(stdin, out.path, ""), "e")
    Path(stdin).write_bytes(b"to the exec")
    assert await out.end() == b"to the exec"
    assert (await task.wait("e")).status == 0
    await task.delete("e")
    await end(task)


async def test_what_cannot_be_attached_to_is_refused(shims: Any, world: World) -> None:
    plain = await shims.create(NAMESPACE, world.id(), world.options("/bin/sleep", "60"))
    await plain.start()
    out = Reader(world.fifo())
    with pytest.raises(FailedPrecondition):
        await plain.attach(Stdio("", out.path, ""))
    await end(plain)
    task = await run(shims, world, "/bin/sleep", "60", stdin="")
    with pytest.raises(FailedPrecondition):
        await task.attach(Stdio(world.fifo(), out.path, ""))
    with pytest.raises(FailedPrecondition):
        await task.attach(Stdio("", world.fifo(), ""))  # nobody reads it
    with pytest.raises(NotFound):
        await task.attach(Stdio("", str(world.folder / "nothing"), ""))
    (world.folder / "file").touch()
    with pytest.raises(InvalidArgument):
        await task.attach(Stdio("", str(world.folder / "file"), ""))
    with pytest.raises(NotFound):
        await task.attach(Stdio("", out.path, ""), "no exec")
    await task.kill(9)
    await task.wait()
    with pytest.raises(FailedPrecondition):
        await task.attach(Stdio("", out.path, ""))
    await task.delete()
    with pytest.raises(NotFound):
        await task.attach(Stdio("", out.path, ""))
    await out.leave()


async def test_attached_over_a_restart_of_the_daemon(shims: Any, world: World) -> None:
    task = await run(shims, world, "/bin/cat")
    stdin, out = world.fifo(), Reader(world.fifo())
    writer = os.open(stdin, os.O_RDWR)
    await task.attach(Stdio(stdin, out.path, ""))
    await shims.close()
    os.write(writer, b"meanwhile\n")
    await eventually(lambda: out.data == b"meanwhile\n")
    second = await world.runtime()
    try:
        task = await second.get(NAMESPACE, task.id)
        other = Reader(world.fifo())
        await task.attach(Stdio("", other.path, ""))
        os.write(writer, b"again\n")
        await eventually(lambda: (out.data, other.data) == (b"meanwhile\nagain\n", b"again\n"))
        await end(task)
        assert await other.end() == b"again\n"
    finally:
        await second.close()
        os.close(writer)
    assert log_of(world) == b"meanwhile\nagain\n"
