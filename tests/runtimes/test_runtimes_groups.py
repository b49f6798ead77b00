"""Tasks of one pod share a shim; tasks of others do not, and do not notice what happens to it."""

import asyncio
import json
import os
import shutil
import signal
from dataclasses import replace
from typing import Any

import pytest
from corten.api.types.runc.options import oci_pb2
from corten.contracts.objects import AnyValue, RuntimeInfo
from corten.contracts.runtime import CreateOptions, Status, Stdio
from corten.errors import CortenError, NotFound
from corten_runtimes.config import RuncConfig
from runtimes.conftest import clear
from runtimes.world import NAMESPACE, RUNC, Reader, World, alive, eventually, process, signal_shim

pytestmark = pytest.mark.integration
KUBERNETES = "io.kubernetes.cri.sandbox-id"


def _pod(world: World, pod: str, *args: str, **rest: Any) -> CreateOptions:
    return replace(world.options(*(args or ("/bin/sleep", "60")), **rest), sandbox_id=pod)


def _record(world: World, id: str) -> dict[str, Any]:
    record: dict[str, Any] = json.loads((world.tasks / id / "bootstrap.json").read_text())
    return record


def _shim(world: World, id: str) -> int:
    pid: int = _record(world, id)["corten"]["pid"]
    return pid


async def _end(task: Any) -> None:
    await task.kill(signal.SIGKILL)
    await task.wait()
    await task.delete()


async def test_a_pod_has_one_shim_until_its_last_task_goes(world: World, runtime: Any) -> None:
    tasks = [await runtime.create(NAMESPACE, id, _pod(world, "pod1")) for id in ("a", "b")]
    other = await runtime.create(NAMESPACE, "c", _pod(world, "pod2"))
    assert _shim(world, "a") == _shim(world, "b") != _shim(world, "c")
    assert _record(world, "b")["corten"]["group"] == "pod1"
    shim = _shim(world, "a")
    for task in (*tasks, other):
        await task.start()
    await _end(tasks[0])
    assert alive(shim)
    assert (await tasks[1].state()).status == Status.RUNNING
    await _end(tasks[1])
    await eventually(lambda: not alive(shim))
    assert (await other.state()).status == Status.RUNNING
    await _end(other)
    await world.left_nothing()


async def test_pods_are_recognised_by_the_annotation_too(world: World, runtime: Any) -> None:
    made = []
    for id, pod in (("a", "x"), ("b", "x"), ("c", "y")):
        options = world.options("/bin/true")
        spec = {**json.loads(options.spec), "annotations": {KUBERNETES: pod}}
        made.append(await runtime.create(NAMESPACE, id, replace(options, spec=json.dumps(spec).encode())))
    assert _shim(world, "a") == _shim(world, "b") != _shim(world, "c")
    for task in made:
        await task.delete()
    await world.left_nothing()


async def test_tasks_of_a_pod_that_are_created_at_once_still_share(world: World, runtime: Any) -> None:
    ids = [f"t{number}" for number in range(4)]
    made = await asyncio.gather(*(runtime.create(NAMESPACE, id, _pod(world, "crowd")) for id in ids))
    assert len({_shim(world, id) for id in ids}) == 1
    await asyncio.gather(*(task.delete() for task in made))
    await world.left_nothing()


async def test_terminals_of_a_pod_do_not_meet(world: World, runtime: Any) -> None:
    outs = [Reader(world.fifo()) for _ in range(3)]
    options = [
        _pod(world, "tty", "/bin/echo", f"from {n}", stdio=Stdio(stdout=out.path, terminal=True))
        for n, out in enumerate(outs)
    ]
    made = await asyncio.gather(*(runtime.create(NAMESPACE, f"t{n}", each) for n, each in enumerate(options)))
    for number, (task, out) in enumerate(zip(made, outs, strict=True)):
        await task.start()
        assert await out.end() == f"from {number}\r\n".encode()
        await task.wait()
        await task.delete()


async def test_a_create_that_fails_leaves_the_pod_alone(world: World, runtime: Any) -> None:
    task = await runtime.create(NAMESPACE, "good", _pod(world, "pod"))
    await task.start()
    with pytest.raises(CortenError, match="no-such-program"):
        await runtime.create(NAMESPACE, "bad", _pod(world, "pod", "/no-such-program"))
    assert (await task.state()).status == Status.RUNNING
    again = await runtime.create(NAMESPACE, "bad", _pod(world, "pod", "/bin/true"))
    assert _shim(world, "bad") == _shim(world, "good")
    await again.delete()
    await _end(task)
    await world.left_nothing()


async def test_a_pods_shim_that_dies_takes_its_tasks_and_no_others(world: World, runtime: Any) -> None:
    doomed = [await runtime.create(NAMESPACE, id, _pod(world, "doomed")) for id in ("a", "b")]
    other = await runtime.create(NAMESPACE, "c", _pod(world, "other"))
    pids = [await task.start() for task in doomed]
    await other.start()
    signal_shim(_shim(world, "a"), signal.SIGKILL)
    assert [(await task.wait()).status for task in doomed] == [137, 137]
    await eventually(lambda: len(world.exchange.topics) == 4)
    assert not any(alive(pid) for pid in pids)
    assert (await other.state()).status == Status.RUNNING
    again = await runtime.create(NAMESPACE, "a", _pod(world, "doomed"))
    assert (await again.state()).status == Status.CREATED
    await again.delete()
    await _end(other)
    await world.left_nothing()


async def test_a_pod_is_adopted_whole_and_taken_to(world: World) -> None:
    first = await world.runtime()
    for id in ("a", "b"):
        await (await first.create(NAMESPACE, id, _pod(world, "pod"))).start()
    shim = _shim(world, "a")
    await first.close()
    second = await world.runtime()
    try:
        third = await second.create(NAMESPACE, "c", _pod(world, "pod"))  # while a and b may yet be adopted
        assert _shim(world, "c") == shim
        tasks = list(await second.list(NAMESPACE))
        assert [(await task.state()).status for task in tasks] == [Status.RUNNING, Status.RUNNING, Status.CREATED]
        assert len(_connections(shim)) <= 3  # the listening socket, the events, the daemon
        await tasks[0].exec("e", process(["/bin/sh", "-c", "exit 4"]), Stdio())
        await tasks[0].start("e")
        assert (await tasks[0].wait("e")).status == 4
        await third.delete()
        for task in tasks[:2]:
            assert alive(shim)
            await _end(task)
        await eventually(lambda: not alive(shim))
        await world.left_nothing()
    finally:
        await clear(second)
        await second.close()


def _connections(pid: int) -> list[str]:
    links = (os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd"))
    return [link for link in links if link.startswith("socket:")]


async def test_a_pod_whose_shim_died_with_the_daemon_is_buried_whole(world: World) -> None:
    first = await world.runtime()
    pids = [await (await first.create(NAMESPACE, id, _pod(world, "pod"))).start() for id in ("a", "b")]
    await first.close()
    signal_shim(_shim(world, "a"), signal.SIGKILL)
    second = await world.runtime()
    for id in ("a", "b"):
        with pytest.raises(NotFound):
            await second.get(NAMESPACE, id)
    assert not any(alive(pid) for pid in pids)
    assert sorted(world.exchange.topics) == ["/tasks/delete"] * 2 + ["/tasks/exit"] * 2
    await world.left_nothing()
    await second.close()


@pytest.mark.skipif(shutil.which("containerd-shim-runc-v2") is None, reason="no containerd-shim-runc-v2 on PATH")
async def test_a_foreign_shim_decides_for_itself(world: World) -> None:
    world.config = RuncConfig(shim="binary")
    runtime = await world.runtime()
    root = oci_pb2.Options(root=str(world.folder / "runc"))
    runc = RuntimeInfo(RUNC, AnyValue("containerd.runc.v1.Options", root.SerializeToString()))
    try:
        made, pod = [], world.id("pod")
        for id in ("a", "b"):
            options = world.options("/bin/sleep", "60")
            spec = {**json.loads(options.spec), "annotations": {KUBERNETES: pod}}
            made.append(
                await runtime.create(
                    NAMESPACE, id, replace(options, spec=json.dumps(spec).encode(), runtime=runc, sandbox_id="p")
                )
            )
            await made[-1].start()
        assert _record(world, "a")["address"] == _record(world, "b")["address"]
        await _end(made[0])
        assert (await made[1].state()).status == Status.RUNNING
        await _end(made[1])
        await world.left_nothing()
    finally:
        await clear(runtime)
        await runtime.close()
