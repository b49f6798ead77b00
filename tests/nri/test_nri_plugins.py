"""Plugins that connect: what they are told and in which order, what they may change, and how they are cut off."""

import asyncio
import json
import sys
import threading
from collections.abc import Awaitable
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import pytest
from corten.api.nri.v1alpha1 import nri_pb2 as pb
from corten.contracts.nri import NriContainer, NriImage, NriPod
from corten.errors import CortenError, FailedPrecondition, PermissionDenied, Unknown
from nri.plugin import Refusal, TestPlugin
from nri.world import CONTAINER, POD, SPEC, NotingRuntime, NriWorld, nri_world
from peers import wait_until

T = TypeVar("T")


async def connected(world: NriWorld, *plugins: TestPlugin) -> None:
    """Wait until each plugin takes part."""
    for plugin in plugins:
        plugin.start()
        joined = partial(_joined, world, f"{plugin.index}-{plugin.name}")
        await asyncio.to_thread(wait_until, joined, "the plugin takes part")


def _joined(world: NriWorld, name: str) -> bool:
    return name in repr(world.nri)


async def closing(plugins: list[TestPlugin], work: Awaitable[T]) -> T:
    try:
        return await work
    finally:
        for plugin in plugins:
            plugin.close()


def adjusting(**fields: Any) -> Any:
    """An answer to CreateContainer."""
    return lambda _: pb.CreateContainerResponse(adjust=pb.ContainerAdjustment(**fields))


async def test_a_plugin_is_configured_and_told_pods_and_containers(tmp_path: Path) -> None:
    runtime = NotingRuntime([POD], [NriContainer("old", "pod1", "old", SPEC, "running", pid=7, seccomp="localhost/x")])
    async with nri_world(tmp_path, runtime) as world:
        with TestPlugin(world.socket, "10", "watcher") as plugin:
            told = await asyncio.to_thread(plugin.wait_for, "Synchronize")
            configured = plugin.told("Configure")[0]
    assert configured.runtime_name == "containerd" and configured.request_timeout == 2000
    pod, container = told.pods[0], told.containers[0]
    assert (pod.id, pod.name, pod.namespace, dict(pod.labels), list(pod.ips)) == (
        "pod1", "web", "default", {"app": "web"}, ["10.0.0.2"],
    )  # fmt: skip
    assert container.state == pb.CONTAINER_RUNNING and container.pid == 7
    assert list(container.args) == ["sh"] and "OLD=1" in container.env and container.annotations["known"] == "yes"
    assert container.linux.resources.memory.limit.value == 1000 and container.linux.resources.cpu.cpus == "0"
    assert container.linux.oom_score_adj.value == 100 and list(container.user.additional_gids) == [2, 3]
    assert container.linux.seccomp_profile.localhost_ref == "x"


async def test_every_point_is_told_in_order(tmp_path: Path) -> None:
    async with nri_world(tmp_path) as world:
        plugin = TestPlugin(world.socket, "10", "watcher")
        await connected(world, plugin)
        nri = world.nri
        await nri.run_pod_sandbox(POD)
        await nri.update_pod_sandbox(POD, {"cpu": {"shares": 2}}, {"cpu": {"shares": 5}})
        await nri.post_update_pod_sandbox(POD)
        await nri.create_container(POD, CONTAINER)
        await nri.post_create_container(POD, CONTAINER)
        await nri.start_container(POD, CONTAINER)
        await nri.post_start_container(POD, CONTAINER)
        await nri.update_container(POD, CONTAINER, {"cpu": {"shares": 10}})
        await nri.post_update_container(POD, CONTAINER)
        for _ in range(2):  # told once, however often it is stopped and removed
            await nri.stop_container(POD, CONTAINER)
            await nri.remove_container(POD, CONTAINER)
            await nri.stop_pod_sandbox(POD)
            await nri.remove_pod_sandbox(POD)
        plugin.close()
    assert plugin.names[2:] == [
        "RunPodSandbox", "UpdatePodSandbox", "PostUpdatePodSandbox", "CreateContainer", "ValidateContainerAdjustment",
        "PostCreateContainer", "StartContainer", "PostStartContainer", "UpdateContainer", "PostUpdateContainer",
        "StopContainer", "RemoveContainer", "StopPodSandbox", "RemovePodSandbox",
    ]  # fmt: skip
    assert plugin.told("UpdatePodSandbox")[0].linux_resources.cpu.shares.value == 5


async def test_a_plugin_is_told_only_what_it_subscribed_to(tmp_path: Path) -> None:
    async with nri_world(tmp_path) as world:
        plugin = TestPlugin(world.socket, "10", "few", events=1 << (pb.STOP_CONTAINER - 1))
        await connected(world, plugin)
        await world.nri.create_container(POD, CONTAINER)
        await world.nri.stop_container(POD, CONTAINER)
        plugin.close()
    assert plugin.names == ["Configure", "Synchronize", "StopContainer"]


async def test_everything_that_can_be_adjusted_is_in_the_spec(tmp_path: Path) -> None:
    linux = pb.LinuxContainerAdjustment(
        devices=[pb.LinuxDevice(path="/dev/x", type="c", major=1, minor=3, file_mode=pb.OptionalFileMode(value=0o666))],
        resources=pb.LinuxResources(
            memory=pb.LinuxMemory(limit=pb.OptionalInt64(value=5000)),
            cpu=pb.LinuxCPU(shares=pb.OptionalUInt64(value=77), cpus="1"),
            hugepage_limits=[pb.HugepageLimit(page_size="2MB", limit=9)],
            unified={"memory.high": "1"}, pids=pb.LinuxPids(limit=44), rdt_class=pb.OptionalString(value="gold"),
        ),
        cgroups_path="/other", oom_score_adj=pb.OptionalInt(value=-5),
        io_priority=pb.LinuxIOPriority(**{"class": pb.IOPRIO_CLASS_BE}, priority=3),
        seccomp_policy=pb.LinuxSeccomp(
            default_action="SCMP_ACT_ALLOW",
            syscalls=[pb.LinuxSyscall(names=["kill"], action="SCMP_ACT_ERRNO", errno_ret=pb.OptionalUInt32(value=1))],
        ),
        namespaces=[pb.LinuxNamespace(type="-network"), pb.LinuxNamespace(type="ipc", path="/run/ipc")],
        sysctl={"-net.a": "", "net.b": "2"}, net_devices={"eth9": pb.LinuxNetDevice(name="in0")},
        scheduler=pb.LinuxScheduler(policy=pb.SCHED_FIFO, priority=4, flags=[pb.SCHED_FLAG_RECLAIM]),
        rdt=pb.LinuxRdt(schemata=pb.OptionalRepeatedString(value=["L3:0=f"])),
        memory_policy=pb.LinuxMemoryPolicy(mode=pb.MPOL_BIND, nodes="0", flags=[pb.MPOL_F_STATIC_NODES]),
    )  # fmt: skip
    hook = pb.Hook(path="/bin/h", args=["h"], timeout=pb.OptionalInt(value=3))
    answer = adjusting(
        annotations={"new": "1", "-known": ""},
        mounts=[
            pb.Mount(destination="/a/b", type="bind", source="/tmp", options=["rbind"]),
            pb.Mount(destination="/a", type="tmpfs", source="tmpfs"),
            pb.Mount(destination="-/proc"),
        ],
        env=[pb.KeyValue(key="OLD", value="2"), pb.KeyValue(key="NEW", value="3"), pb.KeyValue(key="-PATH")],
        hooks=pb.Hooks(create_runtime=[hook]), linux=linux, args=["sleep", "1"],
        rlimits=[pb.POSIXRlimit(type="RLIMIT_NOFILE", hard=20, soft=20)],
        CDI_devices=[pb.CDIDevice(name="vendor.com/gpu=0")],
    )  # fmt: skip
    async with nri_world(tmp_path) as world:
        plugin = TestPlugin(world.socket, "10", "tuner", create_container=answer)
        await connected(world, plugin)
        made = await closing([plugin], world.nri.create_container(POD, CONTAINER))
    spec, made_linux, process = made.spec, made.spec["linux"], made.spec["process"]
    assert list(made.cdi_devices) == ["vendor.com/gpu=0"]
    assert spec["annotations"] == {"new": "1"}
    assert [mount["destination"] for mount in spec["mounts"]] == ["/a", "/a/b"], "parents first"
    assert process["env"] == ["OLD=2", "NEW=3"] and process["args"] == ["sleep", "1"]
    assert spec["hooks"] == {"createRuntime": [{"path": "/bin/h", "args": ["h"], "timeout": 3}]}
    assert process["rlimits"] == [{"type": "RLIMIT_NOFILE", "hard": 20, "soft": 20}]
    assert process["oomScoreAdj"] == -5 and process["ioPriority"] == {"class": "IOPRIO_CLASS_BE", "priority": 3}
    assert process["scheduler"] == {"policy": "SCHED_FIFO", "priority": 4, "flags": ["SCHED_FLAG_RECLAIM"]}
    assert made_linux["devices"] == [{"path": "/dev/x", "type": "c", "major": 1, "minor": 3, "fileMode": 0o666}]
    resources = made_linux["resources"]
    assert resources["memory"] == {"limit": 5000, "swap": 5000}
    assert resources["cpu"] == {"shares": 77, "cpus": "1"} and resources["pids"] == {"limit": 44}
    assert resources["hugepageLimits"] == [{"pageSize": "2MB", "limit": 9}]
    assert resources["unified"] == {"memory.high": "1"}
    allowed = {"allow": True, "type": "c", "major": 1, "minor": 3, "access": "rw"}
    assert resources["devices"] == [{"allow": False}, allowed]
    assert made_linux["cgroupsPath"] == "/other"
    assert made_linux["seccomp"]["syscalls"] == [{"names": ["kill"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1}]
    assert made_linux["namespaces"] == [{"type": "pid"}, {"type": "ipc", "path": "/run/ipc"}]
    assert made_linux["sysctl"] == {"net.b": "2"} and made_linux["netDevices"] == {"eth9": {"name": "in0"}}
    assert made_linux["intelRdt"] == {"closID": "gold", "schemata": ["L3:0=f"]}
    assert made_linux["memoryPolicy"] == {"mode": "MPOL_BIND", "nodes": "0", "flags": ["MPOL_F_STATIC_NODES"]}
    assert CONTAINER.spec == SPEC and SPEC["annotations"] == {"known": "yes"}, "the spec that was given is left alone"


async def test_the_next_plugin_sees_what_the_one_before_wants(tmp_path: Path) -> None:
    async with nri_world(tmp_path) as world:
        first = TestPlugin(world.socket, "10", "first", create_container=adjusting(annotations={"a": "1"}))
        second = TestPlugin(world.socket, "05", "second", create_container=adjusting(annotations={"b": "2"}))
        await connected(world, first, second)
        made = await closing([first, second], world.nri.create_container(POD, CONTAINER))
    assert made.spec["annotations"] == {"known": "yes", "a": "1", "b": "2"}
    assert "b" in first.told("CreateContainer")[0].container.annotations, "05 is asked before 10"
    assert "a" not in second.told("CreateContainer")[0].container.annotations


@pytest.mark.parametrize(
    "fields",
    [
        {"annotations": {"same": "x"}},
        {"mounts": [pb.Mount(destination="/same")]},
        {"env": [pb.KeyValue(key="SAME", value="x")]},
        {"args": ["x"]},
        {"rlimits": [pb.POSIXRlimit(type="RLIMIT_CORE", hard=1, soft=1)]},
        {"CDI_devices": [pb.CDIDevice(name="v/c=d")]},
        {"linux": pb.LinuxContainerAdjustment(devices=[pb.LinuxDevice(path="/dev/same", type="c")])},
        {"linux": pb.LinuxContainerAdjustment(cgroups_path="/x")},
        {"linux": pb.LinuxContainerAdjustment(oom_score_adj=pb.OptionalInt(value=1))},
        {"linux": pb.LinuxContainerAdjustment(namespaces=[pb.LinuxNamespace(type="ipc")])},
        {"linux": pb.LinuxContainerAdjustment(sysctl={"net.same": "1"})},
        {"linux": pb.LinuxContainerAdjustment(rdt=pb.LinuxRdt(clos_id=pb.OptionalString(value="x")))},
        {"linux": pb.LinuxContainerAdjustment(resources=pb.LinuxResources(unified={"same": "1"}))},
        {"linux": pb.LinuxContainerAdjustment(resources=pb.LinuxResources(cpu=pb.LinuxCPU(cpus="0")))},
        {"linux": pb.LinuxContainerAdjustment(memory_policy=pb.LinuxMemoryPolicy(mode=pb.MPOL_LOCAL))},
    ],
    ids=lambda fields: next(iter(fields)) if next(iter(fields)) != "linux" else str(fields["linux"]).split()[0],
)
async def test_two_plugins_that_set_the_same_are_a_conflict(tmp_path: Path, fields: dict[str, Any]) -> None:
    async with nri_world(tmp_path) as world:
        plugins = [TestPlugin(world.socket, f"1{i}", f"p{i}", create_container=adjusting(**fields)) for i in (0, 1)]
        await connected(world, *plugins)
        with pytest.raises(FailedPrecondition, match="'11-p1' and '10-p0' both set"):
            await closing(plugins, world.nri.create_container(POD, CONTAINER))


async def test_a_plugin_may_take_away_and_replace_what_another_set(tmp_path: Path) -> None:
    async with nri_world(tmp_path) as world:
        one = TestPlugin(world.socket, "10", "a", create_container=adjusting(env=[pb.KeyValue(key="X", value="1")]))
        two = TestPlugin(
            world.socket, "20", "b",
            create_container=adjusting(env=[pb.KeyValue(key="-X"), pb.KeyValue(key="X", value="2")]),
        )  # fmt: skip
        await connected(world, one, two)
        made = await closing([one, two], world.nri.create_container(POD, CONTAINER))
    assert "X=2" in made.spec["process"]["env"] and "X=1" not in made.spec["process"]["env"]


async def test_hooks_of_all_plugins_are_added(tmp_path: Path) -> None:
    async with nri_world(tmp_path) as world:
        plugins = [
            TestPlugin(
                world.socket, f"1{i}", "h", create_container=adjusting(hooks=pb.Hooks(poststop=[pb.Hook(path=f"/{i}")]))
            )
            for i in (0, 1)
        ]
        await connected(world, *plugins)
        made = await closing(plugins, world.nri.create_container(POD, CONTAINER))
    assert made.spec["hooks"]["poststop"] == [{"path": "/0"}, {"path": "/1"}]


async def test_other_containers_are_updated_and_evicted(tmp_path: Path) -> None:
    wanted = pb.LinuxResources(cpu=pb.LinuxCPU(cpus="3"))
    answer = pb.CreateContainerResponse(
        update=[pb.ContainerUpdate(container_id="other", linux=pb.LinuxContainerUpdate(resources=wanted))],
        evict=[pb.ContainerEviction(container_id="third", reason="room")],
    )
    async with nri_world(tmp_path) as world:
        plugin = TestPlugin(world.socket, "10", "mover", create_container=lambda _: answer)
        await connected(world, plugin)
        await closing([plugin], world.nri.create_container(POD, CONTAINER))
        await asyncio.sleep(0)
    assert world.runtime.updates == [("other", {"cpu": {"cpus": "3"}})]
    assert world.runtime.evictions == [("third", "room")]


async def test_a_plugin_cannot_update_the_container_that_is_being_made(tmp_path: Path) -> None:
    answer = pb.CreateContainerResponse(update=[pb.ContainerUpdate(container_id="ctr1")])
    async with nri_world(tmp_path) as world:
        plugin = TestPlugin(world.socket, "10", "odd", create_container=lambda _: answer)
        await connected(world, plugin)
        with pytest.raises(CortenError, match="it must adjust it"):
            await closing([plugin], world.nri.create_container(POD, CONTAINER))


async def test_an_update_is_changed_by_plugins_one_after_the_other(tmp_path: Path) -> None:
    def update(**cpu: Any) -> Any:
        resources = pb.LinuxResources(cpu=pb.LinuxCPU(**cpu))
        change = pb.ContainerUpdate(container_id="ctr1", linux=pb.LinuxContainerUpdate(resources=resources))
        return lambda _: pb.UpdateContainerResponse(update=[change])

    async with nri_world(tmp_path) as world:
        one = TestPlugin(world.socket, "10", "a", update_container=update(cpus="1"))
        two = TestPlugin(world.socket, "20", "b", update_container=update(shares=pb.OptionalUInt64(value=9)))
        await connected(world, one, two)
        wanted = {"cpu": {"shares": 2, "quota": 50}}
        made = await closing([one, two], world.nri.update_container(POD, CONTAINER, wanted))
    assert made == {"cpu": {"shares": 9, "quota": 50, "cpus": "1"}}
    assert two.told("UpdateContainer")[0].linux_resources.cpu.cpus == "1"


async def test_a_plugin_may_update_containers_by_itself(tmp_path: Path) -> None:
    async with nri_world(tmp_path) as world:
        plugin = TestPlugin(world.socket, "10", "active")
        await connected(world, plugin)
        resources = pb.LinuxContainerUpdate(resources=pb.LinuxResources(cpu=pb.LinuxCPU(cpus="2")))
        good, bad = (pb.ContainerUpdate(container_id=id, linux=resources) for id in ("good", "broken"))
        quiet = pb.ContainerUpdate(container_id="broken2", linux=resources, ignore_failure=True)
        answer = await asyncio.to_thread(plugin.update_containers, good, bad, quiet)
        plugin.close()
    assert [each.container_id for each in answer.failed] == ["broken"]
    assert world.runtime.updates == [("good", {"cpu": {"cpus": "2"}})]


async def test_a_plugin_that_refuses_stops_the_container_and_the_pod(tmp_path: Path) -> None:
    def refuse(_: Any) -> Any:
        raise Refusal(2, "not here")

    async with nri_world(tmp_path) as world:
        plugin = TestPlugin(
            world.socket, "10", "no", create_container=refuse, run_pod_sandbox=refuse, stop_container=refuse
        )
        await connected(world, plugin)
        with pytest.raises(Unknown, match="10-no: CreateContainer: not here"):
            await world.nri.create_container(POD, CONTAINER)
        with pytest.raises(Unknown, match="not here"):
            await world.nri.run_pod_sandbox(POD)
        await world.nri.stop_container(POD, CONTAINER)
        plugin.close()
    assert plugin.names[-3:] == ["StopPodSandbox", "RemovePodSandbox", "StopContainer"], "a pod refused is taken back"


async def test_a_plugin_that_hangs_is_cut_off_and_refuses_nothing(tmp_path: Path) -> None:
    released = threading.Event()
    async with nri_world(tmp_path, plugin_request_timeout=0.2) as world:
        hung = TestPlugin(world.socket, "10", "hung", create_container=lambda _: released.wait(20) and None)
        well = TestPlugin(world.socket, "20", "well", create_container=adjusting(annotations={"well": "1"}))
        await connected(world, hung, well)
        made = await world.nri.create_container(POD, CONTAINER)
        assert await asyncio.to_thread(hung.ended.wait, 10), "it is hung up on"
        released.set()
        await world.nri.start_container(POD, CONTAINER)
        well.close()
        hung.close()
    assert made.spec["annotations"]["well"] == "1"
    assert "StartContainer" in well.names and "StartContainer" not in hung.names


async def test_a_plugin_that_goes_away_is_forgotten(tmp_path: Path) -> None:
    async with nri_world(tmp_path) as world:
        plugin = TestPlugin(world.socket, "10", "short")
        await connected(world, plugin)
        plugin.close()
        await asyncio.sleep(0.1)
        made = await world.nri.create_container(POD, CONTAINER)
    assert made.spec == SPEC


async def test_a_plugin_that_does_not_register_in_time_is_hung_up_on(tmp_path: Path) -> None:
    async with nri_world(tmp_path, plugin_registration_timeout=0.1) as world:
        with TestPlugin(world.socket, "10", "mute", register=False) as plugin:
            assert await asyncio.to_thread(plugin.ended.wait, 10)


@pytest.mark.parametrize(("index", "name"), [("1", "short"), ("ab", "letters"), ("10", "sp ace"), ("10", "")])
async def test_a_plugin_with_a_bad_name_is_refused(tmp_path: Path, index: str, name: str) -> None:
    async with nri_world(tmp_path) as world:
        with TestPlugin(world.socket, index, name) as plugin:
            assert await asyncio.to_thread(plugin.ended.wait, 10)
            assert "NRI plugin" in plugin.refused


async def test_bytes_that_are_no_nri_end_the_connection(tmp_path: Path) -> None:
    async with nri_world(tmp_path) as world:
        with TestPlugin(world.socket, "10", "noise", register=False) as plugin:
            plugin.sock.sendall(b"\xff" * 64)
            assert await asyncio.to_thread(plugin.ended.wait, 10)


async def test_an_old_plugin_is_told_by_its_one_call_for_events(tmp_path: Path) -> None:
    def unknown(_: Any) -> Any:
        raise Refusal(12, "unknown method")

    async with nri_world(tmp_path) as world:
        plugin = TestPlugin(world.socket, "10", "old", run_pod_sandbox=unknown, start_container=unknown)
        await connected(world, plugin)
        await world.nri.run_pod_sandbox(POD)
        await world.nri.start_container(POD, CONTAINER)
        plugin.close()
    changes = plugin.told("StateChange")
    assert [each.event for each in changes] == [pb.RUN_POD_SANDBOX, pb.START_CONTAINER]
    assert changes[1].container.id == "ctr1" and changes[1].pod.id == "pod1"


async def test_the_state_of_a_large_node_comes_in_parts(tmp_path: Path) -> None:
    pods = [NriPod(f"pod{i}", annotations={"much": "x" * 100_000}) for i in range(80)]
    async with nri_world(tmp_path, NotingRuntime(pods)) as world:
        plugin = TestPlugin(world.socket, "10", "large")
        plugin.start()
        for _ in range(200):
            if plugin.told("Synchronize") and not plugin.told("Synchronize")[-1].more:
                break
            await asyncio.sleep(0.05)
        plugin.close()
    parts = plugin.told("Synchronize")
    assert len(parts) == 3 and [part.more for part in parts] == [True, True, False]
    assert [pod.id for part in parts for pod in part.pods] == [pod.id for pod in pods]


async def test_a_plugin_that_connects_while_a_container_is_made_is_told_of_it_afterwards(tmp_path: Path) -> None:
    async with nri_world(tmp_path) as world:
        plugin = TestPlugin(world.socket, "10", "late")
        async with world.nri.holding():
            plugin.start()
            await asyncio.to_thread(plugin.wait_for, "Configure")
            await asyncio.sleep(0.2)
            assert not plugin.told("Synchronize")
            world.runtime.known_containers.append(NriContainer("made", "pod1", state="created"))
        told = await asyncio.to_thread(plugin.wait_for, "Synchronize")
        plugin.close()
    assert [each.id for each in told.containers] == ["made"]


async def test_validators_see_the_whole_and_may_refuse(tmp_path: Path) -> None:
    def refuse(request: Any) -> Any:
        return pb.ValidateContainerAdjustmentResponse(reject=True, reason="too much")

    async with nri_world(tmp_path) as world:
        tuner = TestPlugin(world.socket, "10", "tuner", create_container=adjusting(annotations={"a": "1"}))
        judge = TestPlugin(world.socket, "90", "judge", validate_container_adjustment=refuse)
        await connected(world, tuner, judge)
        with pytest.raises(PermissionDenied, match="90-judge: it refuses the container: too much"):
            await closing([tuner, judge], world.nri.create_container(POD, CONTAINER))
    seen = judge.told("ValidateContainerAdjustment")[0]
    assert dict(seen.adjust.annotations) == {"a": "1"}
    assert seen.owners.owners["ctr1"].compound[pb.Annotations].owners["a"] == "10-tuner"
    assert [(each.index, each.name) for each in seen.plugins] == [("10", "tuner"), ("90", "judge")]


@pytest.mark.parametrize(
    ("setting", "fields", "seccomp"),
    [
        ("reject_oci_hook_adjustment", {"hooks": pb.Hooks(poststop=[pb.Hook(path="/x")])}, ""),
        ("reject_namespace_adjustment", {"linux": {"namespaces": [{"type": "-network"}]}}, ""),
        ("reject_sysctl_adjustment", {"linux": {"sysctl": {"net.x": "1"}}}, ""),
        ("reject_unconfined_seccomp_adjustment", {"linux": {"seccomp_policy": {"default_action": "x"}}}, "unconfined"),
        ("reject_runtime_default_seccomp_adjustment", {"linux": {"seccomp_policy": {}}}, "runtime/default"),
        ("reject_custom_seccomp_adjustment", {"linux": {"seccomp_policy": {}}}, "localhost/own.json"),
    ],
)  # fmt: skip
async def test_the_built_in_validator_refuses_what_the_settings_forbid(
    tmp_path: Path, setting: str, fields: dict[str, Any], seccomp: str
) -> None:
    from corten_nri.config import ValidatorConfig

    container = NriContainer("ctr1", "pod1", "main", SPEC, seccomp=seccomp)
    for forbidden in (True, False):
        switches: dict[str, Any] = {setting: forbidden}
        config = ValidatorConfig(enable=True, **switches)
        async with nri_world(tmp_path, default_validator=config) as world:
            plugin = TestPlugin(world.socket, "10", "tuner", create_container=adjusting(**fields))
            await connected(world, plugin)
            work = closing([plugin], world.nri.create_container(POD, container))
            if not forbidden:
                await work
                continue
            with pytest.raises(PermissionDenied, match="by plugin 10-tuner"):
                await work


async def test_required_plugins_must_be_connected(tmp_path: Path) -> None:
    from corten_nri.config import ValidatorConfig

    config = ValidatorConfig(enable=True, required_plugins=("guard",), tolerate_missing_plugins_annotation="may-miss")
    async with nri_world(tmp_path, default_validator=config) as world:
        with pytest.raises(PermissionDenied, match="required plugin guard is not connected"):
            await world.nri.create_container(POD, CONTAINER)
        await world.nri.create_container(NriPod("pod1", annotations={"may-miss": "true"}), CONTAINER)
        plugin = TestPlugin(world.socket, "10", "guard")
        await connected(world, plugin)
        await world.nri.create_container(POD, CONTAINER)
        asks = NriPod("pod1", annotations={"required-plugins.noderesource.dev/container.main": "[second]"})
        with pytest.raises(PermissionDenied, match="second"):
            await closing([plugin], world.nri.create_container(asks, CONTAINER))


async def test_installed_plugins_are_started_with_their_settings_and_end_with_the_daemon(tmp_path: Path) -> None:
    folder, notes = tmp_path / "plugins", tmp_path / "notes"
    folder.mkdir()
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf/30-noter.conf").write_text(str(notes))
    program = folder / "30-noter"
    paths = json.dumps([str(Path(__file__).parent.parent), *sys.path])
    program.write_text(f"#!{sys.executable}\nimport sys\nsys.path[:] = {paths}\nfrom nri.plugin import main\nmain()\n")
    program.chmod(0o755)
    (folder / "no-index").write_text("")
    (folder / "40-wasm").write_bytes(b"\0asm\1\0\0\0")
    (folder / "40-wasm").chmod(0o755)
    (folder / "20-not-executable").write_text("")
    async with nri_world(
        tmp_path, plugin_path=str(folder), plugin_registration_timeout=20, plugin_request_timeout=10
    ) as world:
        made = await world.nri.create_container(
            POD, NriContainer("c", "pod1", "main", SPEC, image=NriImage("x", "y", "z"))
        )
    assert made.spec["annotations"]["installed"] == "yes"
    assert notes.read_text().splitlines() == ["configured 30 noter", "create main"]


async def test_nri_can_be_disabled(tmp_path: Path) -> None:
    async with nri_world(tmp_path, disable=True) as world:
        assert not world.nri.enabled and not Path(world.socket).exists()
        await world.nri.run_pod_sandbox(POD)
        async with world.nri.holding():
            assert (await world.nri.create_container(POD, CONTAINER)).spec == SPEC


async def test_connections_can_be_disabled(tmp_path: Path) -> None:
    async with nri_world(tmp_path, disable_connections=True) as world:
        assert not Path(world.socket).exists()


async def test_a_socket_of_another_runtime_is_left_alone(tmp_path: Path) -> None:
    async with nri_world(tmp_path) as world, nri_world(tmp_path) as second:
        plugin = TestPlugin(world.socket, "10", "mine")
        await connected(world, plugin)
        await second.nri.run_pod_sandbox(POD)
        await closing([plugin], world.nri.run_pod_sandbox(NriPod("of the first")))
    assert [each.pod.id for each in plugin.told("RunPodSandbox")] == ["of the first"]
