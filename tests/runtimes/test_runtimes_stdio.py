"""Streams of real containers: FIFOs, pipes and terminals, and every way in which they have been got wrong."""

import asyncio
import os
import signal
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import procfs
import pytest
from corten.api.types.runc.options import oci_pb2
from corten.contracts.objects import AnyValue, RuntimeInfo
from corten.contracts.runtime import Stdio
from corten.errors import CortenError, InvalidArgument
from runtimes.world import NAMESPACE, RUNC, Reader, World, eventually, process

pytestmark = pytest.mark.integration


async def _run(runtime: Any, world: World, *args: str, stdio: Stdio, **changes: Any) -> Any:
    task = await runtime.create(NAMESPACE, world.id(), world.options(*args, stdio=stdio, **changes))
    await task.start()
    return task


async def test_both_outputs_arrive_and_end(runtime: Any, world: World) -> None:
    out, err = Reader(world.fifo()), Reader(world.fifo())
    task = await _run(
        runtime, world, "/bin/sh", "-c", "echo out; echo err >&2", stdio=Stdio(stdout=out.path, stderr=err.path)
    )
    assert (await out.end(), await err.end()) == (b"out\n", b"err\n")
    assert (await task.wait()).status == 0
    await task.delete()


@pytest.mark.parametrize("private_pids", [True, False], ids=["direct", "piped"])
async def test_much_output_is_whole(runtime: Any, world: World, private_pids: bool) -> None:
    out = Reader(world.fifo())
    task = await _run(
        runtime, world, "/bin/sh", "-c", "seq 200000; dd if=/dev/zero bs=64k count=100 2>/dev/null",
        stdio=Stdio(stdout=out.path), private_pids=private_pids,
    )  # fmt: skip
    await task.wait()
    data = await out.end(30)
    assert data == b"".join(b"%d\n" % n for n in range(1, 200001)) + bytes(64 * 1024 * 100)
    await task.delete()


@pytest.mark.parametrize("private_pids", [True, False], ids=["direct", "piped"])
async def test_cat_ends_when_the_client_closes_stdin(runtime: Any, world: World, private_pids: bool) -> None:
    stdin, out = world.fifo(), Reader(world.fifo())
    task = await runtime.create(
        NAMESPACE, world.id(),
        world.options("/bin/cat", stdio=Stdio(stdin=stdin, stdout=out.path), private_pids=private_pids),
    )  # fmt: skip
    writer = os.open(stdin, os.O_WRONLY)
    await task.start()
    os.write(writer, b"first ")
    await eventually(lambda: out.data == b"first ")
    os.write(writer, b"last")
    await task.close_stdin()
    await asyncio.sleep(0.05)
    assert not out.ended.is_set(), "what the client still has open is not ended by CloseIO"
    os.close(writer)
    assert await out.end() == b"first last"
    assert (await task.wait()).status == 0
    await task.delete()


async def test_stdin_stays_open_while_clients_come_and_go(runtime: Any, world: World) -> None:
    stdin, out = world.fifo(), Reader(world.fifo())
    task = await _run(runtime, world, "/bin/cat", stdio=Stdio(stdin=stdin, stdout=out.path))
    for word in (b"one ", b"two "):
        Path(stdin).write_bytes(word)
        await eventually(partial(_ends_with, out, word))
    await task.kill(9)
    await task.wait()
    await task.delete()


@pytest.mark.parametrize("private_pids", [True, False], ids=["direct", "piped"])
async def test_a_reader_may_leave_and_come_back(runtime: Any, world: World, private_pids: bool) -> None:
    path = world.fifo()
    first = Reader(path)
    script = "i=0; while [ $i -lt 60 ]; do echo line $i; i=$((i+1)); sleep 0.01; done"
    task = await _run(runtime, world, "/bin/sh", "-c", script, stdio=Stdio(stdout=path), private_pids=private_pids)
    await eventually(lambda: b"line 3\n" in first.data)
    await first.leave()
    await asyncio.sleep(0.3)
    second = Reader(path)
    assert (await task.wait()).status == 0
    data = first.data + await second.end()
    assert data == b"".join(b"line %d\n" % n for n in range(60))
    await task.delete()


async def test_exec_streams_and_codes(runtime: Any, world: World) -> None:
    task = await _run(runtime, world, "/bin/sleep", "60", stdio=Stdio())
    out, stdin = Reader(world.fifo()), world.fifo()
    await task.exec("copy", process(["/bin/cat"]), Stdio(stdin=stdin, stdout=out.path))
    writer = os.open(stdin, os.O_RDWR)
    await task.start("copy")
    os.write(writer, b"through the exec")
    await task.close_stdin("copy")
    os.close(writer)
    assert await out.end() == b"through the exec"
    assert (await task.wait("copy")).status == 0
    await task.delete("copy")


async def test_output_of_an_exec_that_ends_before_runc_says_that_it_started(runtime: Any, world: World) -> None:
    runc = world.folder / "slow-runc"
    runc.write_text('#!/bin/sh\nrunc "$@"; code=$?\ncase "$*" in *" exec "*) sleep 0.5;; esac\nexit $code\n')
    runc.chmod(0o755)
    own = oci_pb2.Options(binary_name=str(runc))
    chosen = RuntimeInfo(RUNC, AnyValue(own.DESCRIPTOR.full_name, own.SerializeToString()))
    task = await runtime.create(NAMESPACE, world.id(), replace(world.options("/bin/sleep", "600"), runtime=chosen))
    await task.start()
    out, err = Reader(world.fifo()), Reader(world.fifo())
    await task.exec(
        "quick", process(["/bin/sh", "-c", "echo out; echo err >&2; exit 3"]), Stdio("", out.path, err.path)
    )
    await task.start("quick")
    assert (await task.wait("quick")).status == 3
    assert (await out.end(), await err.end()) == (b"out\n", b"err\n")
    await task.kill(signal.SIGKILL)
    await task.wait()
    await task.delete()


async def test_a_background_child_holds_an_execs_output_for_ten_seconds_at_most(runtime: Any, world: World) -> None:
    task = await _run(runtime, world, "/bin/sleep", "60", stdio=Stdio())
    out = Reader(world.fifo())
    await task.exec("holder", process(["/bin/sh", "-c", "sleep 50 & echo done"]), Stdio(stdout=out.path))
    await task.start("holder")
    assert (await task.wait("holder")).status == 0
    started = time.monotonic()
    assert await out.end(30) == b"done\n"
    assert time.monotonic() - started > 5
    await task.delete("holder")


async def test_terminal_with_resize_and_input(runtime: Any, world: World) -> None:
    stdin, out = world.fifo(), Reader(world.fifo())
    stdio = Stdio(stdin=stdin, stdout=out.path, terminal=True)
    script = "stty size; read word; stty size; echo got $word; exit 4"
    task = await _run(runtime, world, "/bin/sh", "-c", script, stdio=stdio)
    await eventually(lambda: b"\r\n" in out.data)
    await task.resize_pty(132, 43)
    with pytest.raises(InvalidArgument, match="65535"):
        await task.resize_pty(70_000, 43)
    writer = os.open(stdin, os.O_WRONLY)
    os.write(writer, b"it\n")
    assert (await task.wait()).status == 4
    os.close(writer)
    data = await out.end()
    assert b"43 132\r\n" in data
    assert data.endswith(b"got it\r\n")
    await task.delete()


async def test_terminal_of_an_exec(runtime: Any, world: World) -> None:
    task = await _run(runtime, world, "/bin/sleep", "60", stdio=Stdio())
    out = Reader(world.fifo())
    await task.exec("tty", process(["/bin/sh", "-c", "[ -t 0 ] && echo a tty"]), Stdio("", out.path, "", True))
    await task.start("tty")
    assert await out.end() == b"a tty\r\n"
    assert (await task.wait("tty")).status == 0
    await task.delete("tty")


async def test_output_to_a_file(runtime: Any, world: World) -> None:
    path = world.folder / "out.log"
    path.write_text("before\n")
    task = await _run(runtime, world, "/bin/echo", "after", stdio=Stdio(stdout=f"file://{path}"))
    await task.wait()
    await task.delete()
    assert path.read_text() == "before\nafter\n"


async def test_what_init_left_in_a_shared_pid_namespace_is_killed(runtime: Any, world: World) -> None:
    task = await _run(
        runtime, world, "/bin/sh", "-c", "sleep 61.5 & exit 0", stdio=Stdio(), private_pids=False,
        cgroupsPath=f"/{world.id()}",
    )  # fmt: skip
    await task.wait()
    await eventually(lambda: not _running(b"sleep\x0061.5\0"))
    await task.delete()


async def test_signals_reach_init(runtime: Any, world: World) -> None:
    out = Reader(world.fifo())
    script = "trap 'echo caught; exit 9' USR1; echo ready; while true; do sleep 0.02; done"
    task = await _run(runtime, world, "/bin/sh", "-c", script, stdio=Stdio(stdout=out.path))
    await eventually(lambda: out.data == b"ready\n")
    await task.kill(signal.SIGUSR1)
    assert (await task.wait()).status == 9
    assert await out.end() == b"ready\ncaught\n"
    await task.delete()


def _ends_with(reader: Reader, word: bytes) -> bool:
    return reader.data.endswith(word)


def _running(command: bytes) -> bool:
    for entry in procfs.entries("cmdline"):
        try:
            if entry.read_bytes().endswith(command):
                return True
        except OSError:
            continue
    return False


async def test_what_runc_says_of_a_failure_is_not_the_containers_to_say(world: World, runtime: Any) -> None:
    out, err = Reader(world.fifo()), Reader(world.fifo())
    stdio = Stdio(stdout=out.path, stderr=err.path)
    with pytest.raises(CortenError, match="/no-such-program"):
        await runtime.create(NAMESPACE, "bad", world.options("/no-such-program", stdio=stdio))
    assert (await out.end(), await err.end()) == (b"", b"")
    script = "echo to stderr >&2; exec 2>&-; sleep 0.1; echo to stdout; echo more"
    out, err = Reader(out.path), Reader(err.path)
    task = await runtime.create(NAMESPACE, "good", world.options("/bin/sh", "-c", script, stdio=stdio))
    await task.start()
    assert (await err.end(), await out.end()) == (b"to stderr\n", b"to stdout\nmore\n")
    assert (await task.wait()).status == 0
    await task.delete()
    await world.left_nothing()
