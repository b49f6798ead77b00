"""Daemons and shims that die: containers, output and exit codes survive the one; nothing is left of the other."""

import asyncio
import json
import os
import shutil
import signal
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from corten.api.types.runc.options import oci_pb2
from corten.contracts.objects import AnyValue, RuntimeInfo
from corten.contracts.runtime import Status, Stdio
from corten.errors import FailedPrecondition, NotFound
from corten_runtimes.config import RuncConfig
from counts import count
from runtimes.conftest import clear
from runtimes.world import NAMESPACE, RUNC, Reader, World, alive, eventually, process, signal_shim

pytestmark = pytest.mark.integration


def _shim(world: World, id: str) -> int:
    pid: int = json.loads((world.tasks / id / "bootstrap.json").read_text())["corten"]["pid"]
    return pid


async def test_a_second_daemon_takes_over(world: World) -> None:
    first = await world.runtime()
    out = Reader(world.fifo())
    script = "trap 'echo bye; exit 5' TERM; echo up; while true; do sleep 0.02; done"
    task = await first.create(NAMESPACE, "kept", world.options("/bin/sh", "-c", script, stdio=Stdio(stdout=out.path)))
    pid = await task.start()
    await eventually(lambda: out.data == b"up\n")
    await first.close()
    second = await world.runtime()
    try:
        again = await second.get(NAMESPACE, "kept")
        state = await again.state()
        assert (again.pid, state.status, state.stdio.stdout) == (pid, Status.RUNNING, out.path)
        await again.kill(signal.SIGTERM)
        assert (await again.wait()).status == 5
        assert await out.end() == b"up\nbye\n"
        await again.delete()
        await world.left_nothing()
    finally:
        await clear(second)
        await second.close()


async def test_exits_while_no_daemon_runs_are_kept_and_told(world: World) -> None:
    first = await world.runtime()
    task = await first.create(NAMESPACE, "alone", world.options("/bin/sh", "-c", "sleep 0.3; exit 42"))
    await task.start()
    await eventually(lambda: len(world.events.topics("alone")) == 2)
    await first.close()
    await world.events.stop()
    await asyncio.sleep(0.6)
    await world.events.start()
    second = await world.runtime()
    try:
        again = await second.get(NAMESPACE, "alone")
        assert (await again.state()).status == Status.STOPPED
        assert (await again.wait()).status == 42
        await eventually(lambda: world.events.topics("alone") == ["/tasks/create", "/tasks/start", "/tasks/exit"])
        assert (await again.delete()).status == 42
    finally:
        await clear(second)
        await second.close()


async def test_the_zygote_may_die(world: World, runtime: Any) -> None:
    task = await runtime.create(NAMESPACE, "orphan", world.options("/bin/sh", "-c", "sleep 0.3; exit 6"))
    await task.start()
    os.kill(world.zygote.pid, signal.SIGKILL)
    assert (await task.wait()).status == 6
    await task.delete()
    another = await runtime.create(NAMESPACE, "next", world.options("/bin/true"))
    await another.start()
    assert (await another.wait()).status == 0
    await another.delete()


async def test_a_shim_that_dies_takes_its_container_and_no_other(world: World, runtime: Any) -> None:
    doomed = await runtime.create(NAMESPACE, "doomed", world.options("/bin/sleep", "60"))
    other = await runtime.create(NAMESPACE, "other", world.options("/bin/sleep", "60"))
    pid = await doomed.start()
    await other.start()
    waiting = asyncio.ensure_future(doomed.wait())
    await asyncio.sleep(0.05)
    signal_shim(_shim(world, "doomed"), signal.SIGKILL)
    ended = await asyncio.wait_for(waiting, 10)
    assert (ended.pid, ended.status) == (pid, 137)
    with pytest.raises(NotFound):
        await runtime.get(NAMESPACE, "doomed")
    assert not alive(pid)
    assert world.exchange.topics == ["/tasks/exit", "/tasks/delete"]
    assert [event.exit_status for event in world.exchange.messages] == [137, 137]
    assert not (world.tasks / "doomed").exists()
    assert (await other.state()).status == Status.RUNNING
    again = await runtime.create(NAMESPACE, "doomed", world.options("/bin/true"))
    await again.delete()


async def test_a_shim_that_died_with_the_daemon_is_cleaned_up(world: World) -> None:
    first = await world.runtime()
    task = await first.create(NAMESPACE, "lost", world.options("/bin/sleep", "60"))
    pid = await task.start()
    await first.close()
    signal_shim(_shim(world, "lost"), signal.SIGKILL)
    second = await world.runtime()
    with pytest.raises(NotFound):
        await second.get(NAMESPACE, "lost")
    assert not alive(pid)
    assert world.exchange.topics == ["/tasks/exit", "/tasks/delete"]
    await world.left_nothing()
    await second.close()


async def test_a_hung_shim_delays_nobody_else(world: World) -> None:
    first = await world.runtime()
    for id in ("hung", "well"):
        task = await first.create(NAMESPACE, id, world.options("/bin/sleep", "60"))
        await task.start()
    hung = _shim(world, "hung")
    signal_shim(hung, signal.SIGSTOP)
    await first.close()
    second = await world.runtime()
    try:
        started = time.monotonic()
        assert (await (await second.get(NAMESPACE, "well")).state()).status == Status.RUNNING
        assert time.monotonic() - started < 3
        with pytest.raises(NotFound):
            await second.get(NAMESPACE, "hung")
        assert not alive(hung)
    finally:
        await clear(second)
        await second.close()


async def test_a_bundle_of_another_boot_is_not_believed(world: World) -> None:
    first = await world.runtime()
    task = await first.create(NAMESPACE, "old", world.options("/bin/true"))
    await task.delete()
    await first.close()
    bundle = world.tasks / "old"
    bundle.mkdir()
    record = {"version": 3, "address": f"unix://{world.state}/s/none", "corten": {"kind": "own", "boot_id": "another"}}
    (bundle / "bootstrap.json").write_text(json.dumps(record | {"corten": {**record["corten"], "pid": os.getpid()}}))  # type: ignore[dict-item]
    (bundle / "init.pid").write_text(str(os.getpid()))
    second = await world.runtime()
    assert list(await second.list(NAMESPACE)) == []
    await world.left_nothing()
    assert world.exchange.topics == ["/tasks/exit", "/tasks/delete"]
    await second.close()


@pytest.mark.skipif(shutil.which("containerd-shim-runc-v2") is None, reason="no containerd-shim-runc-v2 on PATH")
async def test_a_binary_shim_is_adopted_and_lost_like_the_own(world: World) -> None:
    world.config = RuncConfig(shim="binary")
    options = world.options("/bin/sleep", "60")
    root = oci_pb2.Options(root=str(world.folder / "runc"))
    runc = RuntimeInfo(RUNC, AnyValue("containerd.runc.v1.Options", root.SerializeToString()))
    first = await world.runtime()
    pids = {}
    for id in ("stays", "dies"):
        task = await first.create(NAMESPACE, id, replace(options, spec=_renamed_cgroup(options.spec, id), runtime=runc))
        pids[id] = await task.start()
    await first.close()
    second = await world.runtime()
    try:
        task = await second.get(NAMESPACE, "stays")
        assert (task.pid, (await task.state()).status) == (pids["stays"], Status.RUNNING)
        signal_shim(_shim_of(pids["dies"]), signal.SIGKILL)
        await eventually(lambda: world.exchange.topics == ["/tasks/exit", "/tasks/delete"])
        assert not alive(pids["dies"])
        await task.kill(9)
        assert (await task.wait()).status == 137
        await task.delete()
        await world.left_nothing()
    finally:
        await clear(second)
        await second.close()


def _renamed_cgroup(spec: bytes, id: str) -> bytes:
    document = json.loads(spec)
    document["linux"]["cgroupsPath"] += f"-{id}"
    return json.dumps(document).encode()


def _shim_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


async def test_an_execs_exit_is_told_after_a_restart(world: World) -> None:
    first = await world.runtime()
    task = await first.create(NAMESPACE, "host", world.options("/bin/sleep", "60"))
    await task.start()
    await task.exec("job", process(["/bin/sh", "-c", "sleep 0.2; exit 8"]), Stdio())
    await task.start("job")
    await first.close()
    second = await world.runtime()
    try:
        again = await second.get(NAMESPACE, "host")
        assert (await again.wait("job")).status == 8
        assert (await again.delete("job")).status == 8
    finally:
        await clear(second)
        await second.close()


async def test_what_an_earlier_daemon_started_is_not_started_again(world: World, shims: Any) -> None:
    root = oci_pb2.Options(root=str(world.folder / "runc"))
    runc = RuntimeInfo(RUNC, AnyValue("containerd.runc.v1.Options", root.SerializeToString()))
    task = await shims.create(NAMESPACE, "host", replace(world.options("/bin/sleep", "60"), runtime=runc))
    await task.start()
    for exec_id in ("runs", "waits"):
        await task.exec(exec_id, process(["/bin/sleep", "60"]), Stdio())
    await task.start("runs")
    await shims.close()
    second = await world.runtime()
    try:
        again = await second.get(NAMESPACE, "host")
        with pytest.raises(FailedPrecondition):
            await again.start("runs")
        assert await again.start("waits") > 0
        for exec_id in ("runs", "waits"):
            await again.kill(9, exec_id)
            assert (await again.wait(exec_id)).status == 137
            await again.delete(exec_id)
        assert (await again.state()).status == Status.RUNNING
        await again.kill(9)
        assert (await again.wait()).status == 137
        await again.delete()
    finally:
        await clear(second)
        await second.close()


async def test_a_crowd_is_started_listed_restarted_over_and_removed(world: World) -> None:
    ids, some = [f"n{number}" for number in range(count("crowd of containers"))], asyncio.Semaphore(8)

    async def begin(runtime: Any, id: str) -> int:
        async with some:
            task = await runtime.create(NAMESPACE, id, world.options("/bin/sleep", "600"))
            return int(await task.start())

    async def end(runtime: Any, id: str) -> int:
        async with some:
            task = await runtime.get(NAMESPACE, id)
            await task.kill(signal.SIGKILL)
            await task.wait()
            return int((await task.delete()).status)

    first = await world.runtime()
    pids = await asyncio.gather(*(begin(first, id) for id in ids))
    assert {task.id: task.pid for task in await first.list(NAMESPACE)} == dict(zip(ids, pids, strict=True))
    await first.close()
    second = await world.runtime()
    try:
        known = await second.list(NAMESPACE)
        assert {task.id: task.pid for task in known} == dict(zip(ids, pids, strict=True))
        assert {(await task.state()).status for task in known} == {Status.RUNNING}
        assert set(await asyncio.gather(*(end(second, id) for id in ids))) == {137}
        assert list(await second.list(NAMESPACE)) == []
        await world.left_nothing()
    finally:
        await clear(second)
        await second.close()
