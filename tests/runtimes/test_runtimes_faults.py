"""The fault matrix: whoever is killed, and whenever, what comes after is right, and nothing is left over.

A program stands in for runc (`binary_name` of runc's options) that stops before or after a verb until the test lets it
go on; what is killed meanwhile is the victim.
"""

import asyncio
import contextlib
import json
import os
import signal
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import gates
import pytest
from corten.api.types.runc.options import oci_pb2
from corten.contracts.mounts import Mount
from corten.contracts.objects import AnyValue, RuntimeInfo
from corten.contracts.runtime import CreateOptions, Status, Stdio
from corten.errors import AlreadyExists, CortenError, DeadlineExceeded, NotFound, ResourceExhausted
from corten.linux import mount
from corten_runtimes.config import RuncConfig
from corten_runtimes.task import SHORT
from runtimes.conftest import clear
from runtimes.world import NAMESPACE, RUNC, World, alive, eventually, process, shim_processes, signal_shim

pytestmark = pytest.mark.integration


class Gate(gates.Gate):
    """The program in the place of runc, and options that name it."""

    def __init__(self, world: World) -> None:
        super().__init__(world.folder / "gate")
        self._world = world

    async def reached(self) -> int:
        """Wait until a command has stopped; its pid."""
        await eventually(lambda: self.held)
        return self.held

    def options(self, *args: str) -> CreateOptions:
        options = oci_pb2.Options(binary_name=str(self.program))
        runc = RuntimeInfo(RUNC, AnyValue("containerd.runc.v1.Options", options.SerializeToString()))
        return replace(self._world.options(*args), runtime=runc)


@pytest.fixture
def gate(world: World) -> Gate:
    return Gate(world)


@pytest.fixture
async def held(world: World, gate: Gate) -> AsyncIterator[list[Any]]:
    """Runtimes that a test has started; all that they have is cleared away."""
    runtimes: list[Any] = []
    yield runtimes
    gate.open()
    for runtime in runtimes[-1:]:
        await clear(runtime)
    for runtime in runtimes:
        await runtime.close()


def _keeper(world: World) -> int:
    return int(json.loads((world.tasks / "t/bootstrap.json").read_text())["corten"]["pid"])


def _kill_keeper(world: World, victim: int) -> None:
    os.kill(_keeper(world), signal.SIGKILL)


def _kill_worker(world: World, victim: int) -> None:
    _, worker = shim_processes(_keeper(world))  # there is one, for it waits for runc
    os.kill(worker, signal.SIGKILL)


def _kill_zygote(world: World, victim: int) -> None:
    os.kill(world.zygote.pid, signal.SIGKILL)


def _kill_runc(world: World, victim: int) -> None:
    os.kill(victim, signal.SIGKILL)


def _kill_container(world: World, victim: int) -> None:
    path = world.tasks / "t/init.pid"
    if path.exists():
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(path.read_text()), signal.SIGKILL)


VICTIMS: dict[str, Callable[[World, int], None]] = {
    "keeper": _kill_keeper, "worker": _kill_worker, "zygote": _kill_zygote, "runc": _kill_runc,
    "container": _kill_container,
}  # fmt: skip
STEPS = [(when, verb) for verb in ("create", "start", "exec", "delete") for when in ("before", "after")]


async def _life(runtime: Any, options: CreateOptions) -> list[int]:
    """One whole life; the exit statuses of its exec and its init."""
    task = await runtime.create(NAMESPACE, "t", options)
    await task.start()
    await task.exec("e", process(["/bin/sh", "-c", "exit 7"]), Stdio())
    await task.start("e")
    statuses = [(await task.wait("e")).status]
    await task.delete("e")
    await task.kill(signal.SIGKILL)
    statuses.append((await task.wait()).status)
    await task.delete()
    return statuses


async def _all_gone(world: World, runtime: Any) -> None:
    """After a fault: the task is gone, or can be ended and deleted like any other; then nothing is left."""
    with contextlib.suppress(NotFound):  # at any moment, if a delete of before is under way
        task = await runtime.get(NAMESPACE, "t")
        with contextlib.suppress(NotFound):
            await task.kill(signal.SIGKILL)
        assert (await task.wait()).status == 137
        assert (await task.state()).status == Status.STOPPED
        assert (await task.delete()).status == 137
    with pytest.raises(NotFound):
        await runtime.get(NAMESPACE, "t")
    await world.left_nothing()
    again = await runtime.create(NAMESPACE, "t", world.options("/bin/true"))
    await again.start()
    assert (await again.wait()).status == 0
    await again.delete()


@pytest.mark.parametrize(("when", "verb"), STEPS, ids=[f"{when}-{verb}" for when, verb in STEPS])
@pytest.mark.parametrize("victim", VICTIMS)
async def test_killed_at_a_step(world: World, gate: Gate, held: list[Any], victim: str, when: str, verb: str) -> None:
    runtime = await world.runtime()
    held.append(runtime)
    gate.stop_at(when, verb)
    life = asyncio.create_task(_life(runtime, gate.options("/bin/sleep", "600")))
    pid = await gate.reached()
    VICTIMS[victim](world, pid)
    await asyncio.sleep(0.05)
    gate.open()
    try:
        statuses = await asyncio.wait_for(life, 30)
    except CortenError:
        assert victim != "zygote"  # it is nobody's business but the next start's
    else:
        assert statuses == [7, 137] or victim == "container"
    await _all_gone(world, runtime)


async def test_a_runc_that_hangs_is_killed(world: World, gate: Gate, held: list[Any]) -> None:
    world.config = RuncConfig(runc_deadline=1.0)
    runtime = await world.runtime()
    held.append(runtime)
    gate.stop_at("before", "create")
    creating = asyncio.create_task(runtime.create(NAMESPACE, "t", gate.options("/bin/sleep", "600")))
    pid = await gate.reached()
    assert list(await runtime.list(NAMESPACE)) == []  # nobody else is held up
    with pytest.raises(AlreadyExists):
        await runtime.create(NAMESPACE, "t", gate.options("/bin/true"))
    asked = asyncio.create_task(runtime.get(NAMESPACE, "t"))
    with pytest.raises(DeadlineExceeded, match=r"OCI runtime create failed: it was not done in 1 s"):
        await creating
    with pytest.raises(NotFound):
        await asked
    assert not alive(pid)
    gate.open()
    await _all_gone(world, runtime)


@pytest.mark.parametrize("running", [True, False], ids=["running", "created"])
async def test_a_shim_that_hangs_is_ended_by_sigkill(world: World, held: list[Any], running: bool) -> None:
    runtime = await world.runtime()
    held.append(runtime)
    task = await runtime.create(NAMESPACE, "t", world.options("/bin/sleep", "600"))
    if running:
        await task.start()
    waiting = asyncio.create_task(task.wait())
    await asyncio.sleep(0.05)
    shim = _keeper(world)
    signal_shim(shim, signal.SIGSTOP)
    with pytest.raises(DeadlineExceeded, match="its shim does not answer"):
        await task.kill(signal.SIGKILL)
    assert (await asyncio.wait_for(waiting, 10)).status == 137
    await eventually(lambda: not alive(shim) and not alive(task.pid))
    await _all_gone(world, runtime)


async def test_a_call_that_a_delete_overtakes_finds_no_task(world: World, gate: Gate, held: list[Any]) -> None:
    """Its shim is gone then, but that is not what is wrong."""
    runtime = await world.runtime()
    held.append(runtime)
    task = await runtime.create(NAMESPACE, "t", gate.options("/bin/sleep", "600"))
    gate.stop_at("before", "kill")
    killing = asyncio.create_task(task.kill(signal.SIGKILL, all=True))
    await gate.reached()
    await task.delete()
    with pytest.raises(NotFound):
        await killing
    gate.open()
    await _all_gone(world, runtime)


async def test_an_exec_waits_for_a_shim_that_is_busy(world: World, held: list[Any]) -> None:
    """Those of other makes start one exec after the other, and answer nobody meanwhile."""
    runtime = await world.runtime()
    held.append(runtime)
    task = await runtime.create(NAMESPACE, "t", world.options("/bin/sleep", "1000"))
    await task.start()
    shim = _keeper(world)
    signal_shim(shim, signal.SIGSTOP)
    adding = asyncio.create_task(task.exec("e", process(["/bin/true"]), Stdio()))
    await asyncio.sleep(SHORT + 0.5)
    signal_shim(shim, signal.SIGCONT)
    await adding
    assert (await task.state("e")).status == Status.CREATED


async def test_a_shim_that_hangs_over_a_restart_is_given_up(world: World, held: list[Any]) -> None:
    first = await world.runtime()
    held.append(first)
    task = await first.create(NAMESPACE, "t", world.options("/bin/sleep", "600"))
    other = await first.create(NAMESPACE, "other", world.options("/bin/sleep", "600"))
    await task.start()
    signal_shim(_keeper(world), signal.SIGSTOP)
    await first.close()
    second = await world.runtime()
    held.append(second)
    async with asyncio.timeout(2):  # the others do not wait for it
        again = await second.get(NAMESPACE, "other")
        assert again.pid == other.pid
    with pytest.raises(NotFound):
        await second.get(NAMESPACE, "t")
    assert not alive(task.pid)
    await again.delete()
    await _all_gone(world, second)


async def test_a_full_disk(world: World, held: list[Any]) -> None:
    """What cannot be written is said, and what was half written goes; with room again all works."""
    runtime = await world.runtime()
    held.append(runtime)
    task = await runtime.create(NAMESPACE, "kept", world.options("/bin/sleep", "600"))
    await task.start()
    world.state.joinpath("io.containerd.runtime.v2.task/full").mkdir()
    small = str(world.state / "io.containerd.runtime.v2.task/full")
    mount.mount_all([Mount("tmpfs", "tmpfs", "", ("size=128k",))], small)
    try:
        with contextlib.suppress(OSError), (Path(small) / "ballast").open("wb", buffering=0) as ballast:
            while True:
                ballast.write(bytes(4096))
        with pytest.raises(ResourceExhausted):
            await runtime.create("full", "t", world.options("/bin/true"))
        assert [path.name for path in Path(small).iterdir()] == ["ballast"]
        (Path(small) / "ballast").unlink()
        again = await runtime.create("full", "t", world.options("/bin/true"))
        await again.start()
        assert (await again.wait()).status == 0
        await again.delete()
    finally:
        mount.unmount_all(small)
    assert (await task.state()).status == Status.RUNNING
    await task.kill(signal.SIGKILL)
    await task.wait()
    await task.delete()


@contextlib.asynccontextmanager
async def _no_more_pids(pid: int) -> AsyncIterator[Path]:
    """A process in a pids cgroup that has room for no other."""
    group = Path(f"/sys/fs/cgroup/pids/crt{os.getpid()}-full")
    if not group.parent.is_dir():
        pytest.skip("no pids controller of cgroup v1")
    group.mkdir()
    try:
        (group / "cgroup.procs").write_text(str(pid))
        (group / "pids.max").write_text("1")
        yield group
    finally:
        for member in (group / "cgroup.procs").read_text().split():
            with contextlib.suppress(OSError):
                (group.parent / "cgroup.procs").write_text(member)
        await eventually(lambda: _removed(group))


async def test_no_more_pids_for_a_shim(world: World, held: list[Any]) -> None:
    """What takes a command is refused, what does not goes on; with room again all works."""
    runtime = await world.runtime()
    held.append(runtime)
    task = await runtime.create(NAMESPACE, "t", world.options("/bin/sleep", "600"))
    await task.start()
    await task.exec("e", process(["/bin/sh", "-c", "exit 7"]), Stdio())
    await task.exec("f", process(["/bin/sh", "-c", "exit 8"]), Stdio())
    shim = _keeper(world)
    await eventually(lambda: shim_processes(shim) == [shim])
    async with _no_more_pids(shim):
        with pytest.raises(CortenError, match="cannot start"):
            await task.start("e")
        assert shim_processes(shim) == [shim]
        assert (await task.stats()).type_url
        assert (await task.state()).status == Status.RUNNING
        assert (await task.state("e")).status == Status.STOPPED
    await task.start("f")
    assert (await task.wait("f")).status == 8
    await _all_gone(world, runtime)


async def test_no_more_pids_for_the_zygote(world: World, held: list[Any]) -> None:
    """Without a process for a shim the create is refused, and nothing is left; with room again all works."""
    runtime = await world.runtime()
    held.append(runtime)
    assert world.zygote.preload_failures() == {}
    async with _no_more_pids(world.zygote.pid) as group:
        with pytest.raises(CortenError, match="cannot fork"):
            await runtime.create(NAMESPACE, "t", world.options("/bin/true"))
        assert set(world.remains()) == {str(group)}
    await _all_gone(world, runtime)


def _removed(group: Path) -> bool:
    with contextlib.suppress(OSError):
        group.rmdir()
    return not group.exists()
