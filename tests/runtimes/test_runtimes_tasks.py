"""Tasks on real runc: events in order, exit codes of the short-lived, statistics, and failures that leave nothing."""

import asyncio
import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from corten import CONTAINERD_VERSION, REVISION
from corten.api.cgroups.v1 import metrics_pb2 as v1
from corten.api.types.introspection_pb2 import RuntimeInfo as RuntimeInfoMessage
from corten.api.types.runc.options import oci_pb2
from corten.contracts.mounts import Mount
from corten.contracts.objects import AnyValue, RuntimeInfo
from corten.contracts.runtime import Exit, Status, Stdio
from corten.errors import CortenError, InvalidArgument, NotFound, ResourceExhausted, Unimplemented
from corten.zygote.client import Zygote
from corten_runtimes.config import RuncConfig
from counts import count
from runtimes.conftest import clear
from runtimes.world import NAMESPACE, RUNC, World, eventually, process

pytestmark = pytest.mark.integration


async def test_events_come_in_the_mandatory_order(runtime: Any, world: World) -> None:
    task = await runtime.create(NAMESPACE, "ordered", world.options("/bin/sleep", "60"))
    await task.start()
    await task.exec("quick", process(["/bin/true"]), Stdio())
    await task.start("quick")
    await task.wait("quick")
    await task.delete("quick")
    await task.pause()
    await task.resume()
    await task.kill(9)
    ended = await task.wait()
    await task.delete()
    words = "create start exec-added exec-started exit paused resumed exit delete"
    expected = [f"/tasks/{word}" for word in words.split()]
    await eventually(lambda: world.events.topics("ordered") == expected)
    exits = [event for topic, event in world.events.events() if topic == "/tasks/exit"]
    assert [(event.id, event.exit_status) for event in exits] == [("quick", 0), ("ordered", 137)]
    assert exits[1].exited_at.ToNanoseconds() == ended.exited_at
    created = world.events.events()[0][1]
    assert (created.pid, len(created.rootfs)) == (ended.pid, 1)
    assert {envelope.namespace for envelope in world.events.envelopes} == {NAMESPACE}


async def test_execs_of_a_container_have_a_bound(world: World) -> None:
    world.config = RuncConfig(max_execs=2)
    runtime = await world.runtime()
    try:
        task = await runtime.create(NAMESPACE, "crowded", world.options("/bin/sleep", "60"))
        await task.start()
        for name in ("a", "b"):
            await task.exec(name, process(["/bin/true"]), Stdio())
        with pytest.raises(ResourceExhausted, match="max_execs"):
            await task.exec("c", process(["/bin/true"]), Stdio())
        await task.delete("a")
        await task.exec("c", process(["/bin/true"]), Stdio())
        await task.delete("b")
        with pytest.raises(InvalidArgument, match="not JSON"):
            await task.exec("deep", AnyValue("x", b"[" * 100_000), Stdio(terminal=True))
    finally:
        await clear(runtime)
        await runtime.close()


async def test_codes_of_short_lived_processes_are_never_lost(runtime: Any, world: World) -> None:
    task = await runtime.create(NAMESPACE, "short", world.options("/bin/sleep", "600"))
    await task.start()
    for number in range(count("short lived exits")):
        name, status = f"e{number}", number % 200
        await task.exec(name, process(["/bin/sh", "-c", f"exit {status}"]), Stdio())
        await task.start(name)
        async with asyncio.timeout(10):
            assert (await task.wait(name)).status == status
        assert (await task.state(name)).status == Status.STOPPED
        assert (await task.delete(name)).status == status
    await task.kill(9)
    await task.wait()
    await task.delete()


async def test_of_many_deletes_one_takes_it_away(world: World, shims: Any) -> None:
    """Its id is free then, also while others still try: what is made under it stays."""
    for _ in range(3):
        task = await shims.create(NAMESPACE, "again", world.options("/bin/true"))
        await task.start()
        await task.wait()
        deletes = [asyncio.create_task(task.delete()) for _ in range(6)]
        await asyncio.wait(deletes, return_when=asyncio.FIRST_COMPLETED)
        second = await asyncio.wait_for(shims.create(NAMESPACE, "again", world.options("/bin/true")), 20)
        ended = await asyncio.gather(*deletes, return_exceptions=True)
        assert sorted(type(each).__name__ for each in ended) == ["Exit", *["NotFound"] * 5]
        assert [each.status for each in ended if isinstance(each, Exit)] == [0]
        assert (await (await shims.get(NAMESPACE, "again")).state()).status == Status.CREATED
        await second.delete()
    await world.left_nothing()


async def test_stats_pids_and_update(runtime: Any, world: World) -> None:
    path = f"/{world.id('cg')}"
    task = await runtime.create(NAMESPACE, "limits", world.options("/bin/sleep", "60", cgroupsPath=path))
    await task.start()
    await task.exec("beside", process(["/bin/sleep", "50"]), Stdio())
    exec_pid = await task.start("beside")
    pids = dict(await task.pids())
    assert set(pids) == {task.pid, exec_pid}
    assert pids[task.pid] is None
    assert oci_pb2.ProcessDetails.FromString(pids[exec_pid].value).exec_id == "beside"
    resources = AnyValue("types.containerd.io/opencontainers/runtime-spec/1/LinuxResources", b'{"pids":{"limit":17}}')
    await task.update(resources, {})
    stats = await task.stats()
    if stats.type_url == "io.containerd.cgroups.v1.Metrics":
        metrics = v1.Metrics.FromString(stats.value)
        assert (metrics.pids.current, metrics.pids.limit) == (2, 17)
        assert metrics.memory.usage.usage > 0
        assert metrics.cpu.usage.total > 0
    with pytest.raises(CortenError, match="runtime update failed"):
        await task.update(AnyValue("", b"no json"), {})
    await task.kill(9, all=True)
    await task.wait()
    await task.delete()


@pytest.mark.parametrize(
    ("args", "words"),
    [(("/bin/no-such-program",), "no such file"), (("",), "process")],
    ids=["program", "empty"],
)
async def test_a_failed_create_leaves_nothing(runtime: Any, world: World, args: tuple[str, ...], words: str) -> None:
    with pytest.raises(CortenError, match="OCI runtime create failed") as caught:
        await runtime.create(NAMESPACE, "broken", world.options(*args))
    assert words in caught.value.message
    await _nothing_left(runtime, world)
    assert world.events.topics("broken") == []


async def test_a_root_file_system_that_cannot_be_mounted(runtime: Any, world: World) -> None:
    options = replace(world.options("/bin/true"), rootfs=[Mount("bind", "/no/such/folder", "", ("rbind",))])
    with pytest.raises(NotFound, match="/no/such/folder"):
        await runtime.create(NAMESPACE, "broken", options)
    await _nothing_left(runtime, world)


async def test_streams_that_do_not_exist(runtime: Any, world: World) -> None:
    with pytest.raises(NotFound, match="/no/fifo"):
        await runtime.create(NAMESPACE, "broken", world.options("/bin/true", stdio=Stdio(stdout="/no/fifo")))
    with pytest.raises(NotFound, match="/bin/log"):
        await runtime.create(NAMESPACE, "broken", world.options("/bin/true", stdio=Stdio(stdout="binary:///bin/log")))
    await _nothing_left(runtime, world)


async def test_bad_specs_and_runtimes(runtime: Any, world: World) -> None:
    good = world.options("/bin/true")
    for spec in (b"", b"{", b"[1]"):
        with pytest.raises(InvalidArgument, match="OCI spec"):
            await runtime.create(NAMESPACE, "broken", replace(good, spec=spec))
    with pytest.raises(InvalidArgument, match="removed"):
        await runtime.create(NAMESPACE, "broken", replace(good, runtime=RuntimeInfo("io.containerd.runtime.v1.linux")))
    with pytest.raises(NotFound, match="containerd-shim-kata-v2"):
        await runtime.create(NAMESPACE, "broken", replace(good, runtime=RuntimeInfo("io.containerd.kata.v2")))
    missing = oci_pb2.Options(binary_name="/no/such/runc")
    info = RuntimeInfo(RUNC, AnyValue("containerd.runc.v1.Options", missing.SerializeToString()))
    with pytest.raises(NotFound, match="/no/such/runc"):
        await runtime.create(NAMESPACE, "broken", replace(good, runtime=info))
    await _nothing_left(runtime, world)


async def test_an_exec_that_cannot_start(runtime: Any, world: World) -> None:
    task = await runtime.create(NAMESPACE, "host", world.options("/bin/sleep", "60"))
    await task.start()
    await task.exec("bad", process(["/bin/no-such-program"]), Stdio())
    with pytest.raises(CortenError, match="OCI runtime exec failed"):
        await task.start("bad")
    async with asyncio.timeout(5):
        await task.wait("bad")
    await task.delete("bad")
    assert (await task.state()).status == Status.RUNNING


async def test_files_and_modes_of_a_bundle(runtime: Any, world: World) -> None:
    await runtime.create(NAMESPACE, "modes", world.options("/bin/true"))
    bundle = world.tasks / "modes"
    assert bundle.stat().st_mode & 0o777 == 0o700
    assert bundle.parent.stat().st_mode & 0o777 == 0o711
    address = (bundle / "address").read_text()
    assert Path(address.removeprefix("unix://")).stat().st_mode & 0o777 == 0o600
    bootstrap = json.loads((bundle / "bootstrap.json").read_text())
    assert (bootstrap["address"], bootstrap["version"], bootstrap["protocol"]) == (address, 3, "ttrpc")
    assert (bundle / "work").resolve() == world.folder / "rt/io.containerd.runtime.v2.task" / NAMESPACE / "modes"


async def test_what_the_shim_cannot_do_says_why(runtime: Any, world: World) -> None:
    task = await runtime.create(NAMESPACE, "plain", world.options("/bin/sleep", "60"))
    await task.start()
    if not any(os.access(f"{folder}/criu", os.X_OK) for folder in os.environ["PATH"].split(":")):
        with pytest.raises(Unimplemented, match="criu"):
            await task.checkpoint(str(world.folder / "image"), None)
    with pytest.raises(InvalidArgument, match="signal 99"):
        await task.kill(99)


async def test_plugin_info_tells_of_the_shim_and_of_runc(runtime: Any) -> None:
    answer = await runtime.plugin_info(RUNC, None)
    info = RuntimeInfoMessage.FromString(answer.value)
    assert (answer.type_url, info.name) == ("containerd.types.RuntimeInfo", RUNC)
    assert (info.version.version, info.version.revision) == (CONTAINERD_VERSION, REVISION)
    if info.features.value:
        assert "hooks" in json.loads(info.features.value)


@pytest.mark.parametrize("says", ["exit 1", "echo", "echo no json", "echo 7", "exec cat /dev/null"])
async def test_a_runtime_that_tells_no_features_has_none(runtime: Any, world: World, says: str) -> None:
    """A message whose value is no JSON is more than containerd's clients can read."""
    program = world.folder / "odd"
    program.write_text(f"#!/bin/sh\n{says}\n")
    program.chmod(0o755)
    options = AnyValue("containerd.runc.v1.Options", oci_pb2.Options(binary_name=str(program)).SerializeToString())
    info = RuntimeInfoMessage.FromString((await runtime.plugin_info(RUNC, options)).value)
    assert not info.HasField("features") and info.options.value == options.value
    program.unlink()
    with pytest.raises(NotFound, match="no such program"):
        await runtime.plugin_info(RUNC, options)


async def test_a_container_with_cgroups_of_its_own_below_is_removed_too(runtime: Any, world: World) -> None:
    options = world.options("/bin/sleep", "60")
    below = json.loads(options.spec)["linux"]["cgroupsPath"]
    task = await runtime.create(NAMESPACE, "nested", options)
    await task.start()
    made = [folder / "inner" for folder in Path("/sys/fs/cgroup").glob(f"*{below}") if folder.is_dir()]
    for folder in made:
        folder.mkdir()
    await task.kill(9)
    await task.wait()
    await task.delete()
    assert made
    await _nothing_left(runtime, world)


async def test_out_of_memory_is_told(runtime: Any, world: World) -> None:
    if not Path("/sys/fs/cgroup/memory").is_dir():
        pytest.skip("the memory controller of cgroup v1 is not mounted here")
    limits = {"memory": {"limit": 16 << 20, "swap": 16 << 20}}
    options = world.options("/bin/dd", "if=/dev/zero", "of=/dev/null", "bs=64M", "count=1", resources=limits)
    task = await runtime.create(NAMESPACE, "greedy", options)
    await task.start()
    assert (await task.wait()).status == 137
    await task.delete()
    await eventually(lambda: "/tasks/oom" in world.events.topics("greedy"))


async def _nothing_left(runtime: Any, world: World) -> None:
    assert list(await runtime.list(NAMESPACE)) == []
    await world.left_nothing()


async def test_ps_tells_whose_a_shim_is(world: World, runtime: Any) -> None:
    id = world.id("ps")
    await runtime.create(NAMESPACE, id, world.options("/bin/sleep", "60"))
    record = json.loads((world.tasks / id / "bootstrap.json").read_text())
    words = Path(f"/proc/{record['corten']['pid']}/cmdline").read_text().rstrip("\0").split("\0")
    address = world.events.path.removesuffix(".ttrpc")
    assert words == ["containerd-shim-corten", "-namespace", NAMESPACE, "-id", id, "-address", address]


def test_the_zygote_rehearses_without_a_failure(zygote: Zygote) -> None:
    """What fails in a rehearsal harms nobody, so only the size of shims would tell."""
    assert zygote.preload_failures() == {}
