"""NRI on a node: a daemon with CRI, real containers, and plugins that connect to its socket."""

import asyncio
import json
import os
import socket as sockets
from collections.abc import AsyncIterator, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from corten.api.cri.v1 import runtime_pb2 as pb
from corten.api.nri.v1alpha1 import nri_pb2 as nri
from corten.errors import CortenError
from counts import count
from cri.cri_world import Cri, CriNode, cri_node, until
from nri.plugin import Refusal, TestPlugin
from peers import wait_until

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CriNode]:
    folder = tmp_path_factory.mktemp("nri")
    settings = f"  io.containerd.nri.v1.nri: {{socket_path: {folder}/nri.sock, plugin_path: {folder}/plugins}}\n"
    with cri_node(folder / "node", settings) as made:
        yield made


@pytest.fixture
def socket(node: CriNode) -> str:
    return str(node.conf.parent.parent / "nri.sock")


@pytest.fixture
async def cri(node: CriNode) -> AsyncIterator[Cri]:
    async with node.client() as client:
        await client.pull()
        yield client


async def joined(cri: Cri, plugin: TestPlugin) -> TestPlugin:
    """Started, and told the state of things; the daemon asks it from now on."""
    line = f"NRI plugin {plugin.index}-{plugin.name}: connected"
    before = cri.node.daemon.log.count(line)

    async def takes_part() -> bool:
        return cri.node.daemon.log.count(line) > before

    plugin.start()
    await until(takes_part, line)
    return plugin


def adjusting(wanted: nri.ContainerAdjustment) -> Any:
    return lambda _: nri.CreateContainerResponse(adjust=wanted)


async def test_a_plugin_sees_the_life_of_a_pod_and_its_container(cri: Cri, socket: str) -> None:
    plugin = await joined(cri, TestPlugin(socket, "10", "watcher"))
    pod = await cri.run_pod(cri.networked(annotations={"own": "pod"}))
    container = await cri.started(pod, "sleep", "1000", labels={"own": "container"})
    resources = pb.LinuxContainerResources(cpu_shares=300)
    await cri.call(
        "UpdateContainerResources", pb.UpdateContainerResourcesRequest(container_id=container, linux=resources)
    )
    await cri.stop(container)
    await cri.remove(container)
    await cri.stop_pod(pod)
    await cri.remove_pod(pod)
    plugin.close()
    wanted = [
        "RunPodSandbox", "CreateContainer", "PostCreateContainer", "StartContainer", "PostStartContainer",
        "UpdateContainer", "PostUpdateContainer", "StopContainer", "RemoveContainer", "StopPodSandbox",
        "RemovePodSandbox",
    ]  # fmt: skip
    assert [name for name in plugin.names if name in wanted] == wanted
    told = plugin.told("PostStartContainer")[0]
    assert (told.pod.id, told.pod.annotations["own"], told.pod.pid) == (pod, "pod", 0)
    assert told.pod.ips and told.pod.linux.namespaces[0].path
    assert told.container.id == container and told.container.labels["own"] == "container" and told.container.pid > 1
    assert list(told.container.args) == ["sleep", "1000"] and told.container.state == nri.CONTAINER_RUNNING
    assert told.container.image.name == cri.node.image()
    assert plugin.told("UpdateContainer")[0].linux_resources.cpu.shares.value == 300


async def test_a_container_is_made_as_the_plugin_wants(cri: Cri, socket: str, tmp_path: Path) -> None:
    (tmp_path / "given").write_text("from the plugin\n")
    wanted = nri.ContainerAdjustment(
        annotations={"added": "yes"},
        env=[nri.KeyValue(key="FROM_IMAGE", value="no"), nri.KeyValue(key="ADDED", value="1")],
        args=[
            "sh",
            "-c",
            "echo $FROM_IMAGE $ADDED; cat /given/given; ulimit -n; head -c 2 /dev/also | wc -c; sleep 1000",
        ],
        mounts=[nri.Mount(destination="/given", type="bind", source=str(tmp_path), options=["rbind", "ro"])],
        rlimits=[nri.POSIXRlimit(type="RLIMIT_NOFILE", hard=77, soft=66)],
        linux=nri.LinuxContainerAdjustment(
            devices=[nri.LinuxDevice(path="/dev/also", type="c", major=1, minor=5)],
            resources=nri.LinuxResources(pids=nri.LinuxPids(limit=123)),
        ),
    )
    plugin = await joined(cri, TestPlugin(socket, "10", "tuner", create_container=adjusting(wanted)))
    pod = await cri.run_pod()
    container = await cri.started(pod, "true")
    plugin.close()
    await until(partial(printed, cri, container, 4), "it has printed")
    assert (await cri.log(container)).split("\n") == ["no 1", "from the plugin", "66", "2"]
    spec = (await cri.info(container))["runtimeSpec"]
    assert spec["annotations"]["added"] == "yes" and spec["linux"]["resources"]["pids"] == {"limit": 123}


async def test_a_plugin_injects_a_cdi_device(cri: Cri, socket: str) -> None:
    edits = {"env": ["GIVEN=1"], "deviceNodes": [{"path": "/dev/given", "hostPath": "/dev/zero"}]}
    devices = [{"name": "given", "containerEdits": edits}]
    described = {"cdiVersion": "0.6.0", "kind": "nri.test/dev", "devices": devices}
    (cri.node.cdi / "nri.json").write_text(json.dumps(described))
    wanted = nri.ContainerAdjustment(CDI_devices=[nri.CDIDevice(name="nri.test/dev=given")])
    plugin = await joined(cri, TestPlugin(socket, "10", "injector", create_container=adjusting(wanted)))
    pod = await cri.run_pod()
    assert (await cri.printed(pod, "sh", "-c", "echo $GIVEN; head -c 3 /dev/given | wc -c")).split() == ["1", "3"]
    wanted.CDI_devices[0].name = "nri.test/dev=none"
    with pytest.raises(CortenError, match=r"nri\.test/dev=none"):
        await cri.create(pod, cri.config("true"))
    plugin.close()


async def test_plugins_that_come_and_go_leave_nothing(cri: Cri, socket: str) -> None:
    def held() -> tuple[int, int]:
        pid = cri.node.daemon.pid
        return len(os.listdir(f"/proc/{pid}/fd")), len(os.listdir(f"/proc/{pid}/task"))

    async def as_before() -> bool:
        fds, threads = held()
        return fds <= before[0] and threads <= before[1] + 2

    def come_and_go(turn: int) -> None:
        if turn % 4 == 0:
            TestPlugin(socket, "10", "whole").come_and_go()
        else:
            with sockets.socket(sockets.AF_UNIX) as raw:
                raw.connect(socket)
                raw.sendall((b"", os.urandom(64), b"\0\0\0\x01\0\0\0\x20half")[turn % 4 - 1])

    for turn in range(8):
        await asyncio.to_thread(come_and_go, turn)
    await asyncio.sleep(0.5)
    before = held()
    for turn in range(count("plugins that come and go")):
        await asyncio.to_thread(come_and_go, turn)
    await until(as_before, "every descriptor is closed")
    await asyncio.to_thread(wait_until, Path(socket).exists, "NRI is open, which CRI's recovery opens", 20)
    plugin = await joined(cri, TestPlugin(socket, "10", "after"))
    plugin.close()


async def printed(cri: Cri, container: str, lines: int) -> bool:
    return len((await cri.log(container)).split("\n")) >= lines


async def test_a_plugin_that_connects_late_is_told_what_there_is_and_may_change_it(cri: Cri, socket: str) -> None:
    pod = await cri.run_pod()
    container = await cri.started(pod, "sleep", "1000")
    shares = nri.LinuxResources(cpu=nri.LinuxCPU(shares=nri.OptionalUInt64(value=444)))
    change = nri.ContainerUpdate(container_id=container, linux=nri.LinuxContainerUpdate(resources=shares))
    plugin = await joined(
        cri, TestPlugin(socket, "10", "late", synchronize=lambda _: nri.SynchronizeResponse(update=[change]))
    )
    told = plugin.told("Synchronize")[0]
    assert pod in [each.id for each in told.pods] and container in [each.id for each in told.containers]
    await until(partial(has_shares, cri, container, 444), "the update is in force")
    shares.cpu.shares.value = 555
    change.linux.resources.CopyFrom(shares)
    answer = await asyncio.to_thread(plugin.update_containers, change)
    assert not answer.failed and await has_shares(cri, container, 555)
    plugin.close()


async def has_shares(cri: Cri, container: str, shares: int) -> bool:
    return bool((await cri.info(container))["runtimeSpec"]["linux"]["resources"]["cpu"]["shares"] == shares)


async def test_a_container_is_evicted(cri: Cri, socket: str) -> None:
    pod = await cri.run_pod()
    container = await cri.started(pod, "sleep", "1000")
    plugin = await joined(cri, TestPlugin(socket, "10", "evictor"))
    eviction = nri.ContainerEviction(container_id=container, reason="room is needed")
    await asyncio.to_thread(partial(plugin.update_containers, evict=(eviction,)))
    assert (await cri.ended(container)).exit_code == 137
    await asyncio.to_thread(plugin.wait_for, "StopContainer")
    plugin.close()


async def test_what_a_plugin_refuses_is_not_made_and_leaves_nothing(cri: Cri, socket: str) -> None:
    def refuse(_: Any) -> Any:
        raise Refusal(2, "the plugin says no")

    plugin = await joined(cri, TestPlugin(socket, "10", "no", create_container=refuse))
    pod = await cri.run_pod()
    config = cri.config("true")
    with pytest.raises(CortenError, match="10-no: CreateContainer: the plugin says no"):
        await cri.create(pod, config)
    assert await cri.containers(pod_sandbox_id=pod) == []
    plugin.close()
    await asyncio.sleep(0.1)
    await cri.create(pod, config)  # the name is free
    pods = TestPlugin(socket, "10", "pods", run_pod_sandbox=refuse)
    await joined(cri, pods)
    with pytest.raises(CortenError, match="the plugin says no"):
        await cri.run_pod()
    pods.close()
    assert pods.names[-2:] == ["StopPodSandbox", "RemovePodSandbox"]
    assert [each.id for each in await cri.pods()] == [pod]


async def test_an_end_by_itself_is_told(cri: Cri, socket: str) -> None:
    plugin = await joined(cri, TestPlugin(socket, "10", "watcher"))
    pod = await cri.run_pod()
    container = await cri.started(pod, "sh", "-c", "exit 3")
    told = await asyncio.to_thread(plugin.wait_for, "StopContainer")
    plugin.close()
    assert told.container.id == container and told.container.exit_code == 3
    assert told.container.state == nri.CONTAINER_STOPPED


async def test_plugins_are_told_of_what_an_earlier_daemon_left(cri: Cri, socket: str) -> None:
    pod = await cri.run_pod()
    container = await cri.started(pod, "sleep", "1000")
    before = await joined(cri, TestPlugin(socket, "10", "before"))
    cri.node.daemon.restart()
    assert await asyncio.to_thread(before.ended.wait, 10), "it is hung up on when the daemon stops"
    before.close()
    await asyncio.to_thread(wait_until, Path(socket).exists, "NRI is open, which CRI's recovery opens", 20)
    plugin = await joined(cri, TestPlugin(socket, "10", "after"))
    told = plugin.told("Synchronize")[0]
    assert [each.id for each in told.containers] == [container]
    assert told.containers[0].state == nri.CONTAINER_RUNNING and told.containers[0].pid > 1
    await cri.stop(container)
    assert plugin.wait_for("StopContainer").container.id == container
    plugin.close()
