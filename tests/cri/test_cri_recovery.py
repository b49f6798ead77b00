"""Restarts: containers run on, what ended meanwhile is known, and whatever a killed daemon left half done goes."""

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest
from corten.api.cri.v1 import runtime_pb2 as pb
from corten.errors import CortenError
from counts import count
from cri.cri_world import Cri, CriNode, cri_node, run, until
from peers import alive, wait_until

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def mortal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CriNode]:
    """A node whose daemon tests may kill."""
    with cri_node(tmp_path_factory.mktemp("mortal")) as node:
        yield node


@pytest.fixture(autouse=True)
def running(mortal: CriNode) -> Iterator[None]:
    """The daemon runs when a test begins, and nothing is left when it has ended."""
    yield
    process = mortal.daemon.process
    if process is None or process.poll() is not None:
        mortal.daemon.start()


def leftovers(node: CriNode) -> list[str]:
    """Whatever there is of pods and containers on the host."""
    found = []
    for top in (node.daemon.root, node.daemon.state):
        cri = top / "io.containerd.grpc.v1.cri"
        for kind in ("sandboxes", "containers", "netns"):
            found += [str(path) for path in (cri / kind).glob("*")]
    found += [str(path) for path in (node.daemon.state / "io.containerd.runtime.v2.task" / "k8s.io").glob("*")]
    return [*found, *addresses(node)]


def addresses(node: CriNode) -> list[str]:
    """The leases of host-local."""
    return [path.name for path in (node.conf.parent / "ipam" / node.bridge).glob("*.*.*.*")]


async def test_pods_and_containers_survive_a_restart(mortal: CriNode) -> None:
    async with mortal.client() as cri:
        await cri.pull()
        shared = cri.pod_config()
        shared.linux.security_context.namespace_options.pid = pb.POD
        pods = [await cri.run_pod(cri.networked(labels={"a": "b"})), await cri.run_pod(shared)]
        options = pb.NamespaceOption(network=pb.NODE, pid=pb.POD)
        linux = pb.LinuxContainerConfig(security_context=pb.LinuxContainerSecurityContext(namespace_options=options))
        runs = await cri.started(pods[0], "sh", "-c", "while true; do echo tick; sleep 0.05; done")
        beside = await cri.started(pods[1], "sleep", "1000", linux=linux)
        created = await cri.create(pods[0], cri.config("true"))
        done = await cri.started(pods[0], "sh", "-c", "exit 5")
        await cri.ended(done)
        before = [await cri.status(each) for each in (runs, beside, created, done)]
        pod_before = [await cri.pod_status(pod) for pod in pods]
        for stop in (mortal.daemon.stop, mortal.daemon.kill):
            stop()
            assert alive(_pid(mortal, runs))
            await asyncio.to_thread(mortal.daemon.start)
            await cri.reconnect()
            assert [await cri.status(each) for each in (runs, beside, created, done)] == before
            assert [await cri.pod_status(pod) for pod in pods] == pod_before
        assert await cri.output(runs, "echo", "still") == "still"
        await cri.start(created)
        assert (await cri.ended(created)).exit_code == 0
        await cri.stop(beside)
        assert (await cri.status(beside)).exit_code == 137
    assert leftovers(mortal) == []


def _pid(node: CriNode, container: str) -> int:
    """The init process of a container, found without the daemon."""
    bundle = node.daemon.state / "io.containerd.runtime.v2.task" / "k8s.io" / container
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            if f"{container}" in Path(f"/proc/{pid}/cgroup").read_text():
                return int(pid)
        except OSError:
            continue
    raise AssertionError(f"no process of {bundle}")


async def test_what_ended_while_no_daemon_ran_is_known_with_its_code(mortal: CriNode) -> None:
    async with mortal.client() as cri:
        await cri.pull()
        pod = await cri.run_pod()
        container = await cri.started(
            pod, "sh", "-c", "trap 'exit 42' TERM; echo ready; while true; do sleep 0.05; done"
        )
        killed = await cri.started(pod, "sleep", "1000")

        async def ready() -> bool:
            return "ready" in await cri.log(container)

        await until(ready, "the container listens")
        pids = [(await cri.info(each))["pid"] for each in (container, killed)]
        mortal.daemon.kill()
        os.kill(pids[0], signal.SIGTERM)
        os.kill(pids[1], signal.SIGKILL)
        wait_until(lambda: not any(map(alive, pids)), "both have ended")
        await asyncio.to_thread(mortal.daemon.start)
        await cri.reconnect()
        assert (await cri.ended(container)).exit_code == 42
        assert (await cri.ended(killed)).exit_code == 137


async def test_a_pod_whose_pause_process_dies_is_not_ready(mortal: CriNode) -> None:
    async with mortal.client() as cri:
        await cri.pull()
        config = cri.pod_config()
        config.linux.security_context.namespace_options.pid = pb.POD
        pods = [await cri.run_pod(), await cri.run_pod(config)]
        options = pb.NamespaceOption(network=pb.NODE, pid=pb.POD)
        linux = pb.LinuxContainerConfig(security_context=pb.LinuxContainerSecurityContext(namespace_options=options))
        container = await cri.started(pods[1], "sleep", "1000", linux=linux)
        os.kill((await cri.pod_info(pods[1]))["pid"], signal.SIGKILL)
        await cri.ended(container)

        async def not_ready() -> bool:
            return bool((await cri.pod_status(pods[1])).state == pb.SANDBOX_NOTREADY)

        await until(not_ready, "the pod is not ready")
        assert (await cri.pod_status(pods[0])).state == pb.SANDBOX_READY


def _pod_steps(node: CriNode) -> dict[str, Callable[[], bool]]:
    cri, tasks = node.daemon.state / "io.containerd.grpc.v1.cri", node.daemon.state / "io.containerd.runtime.v2.task"
    kept = node.daemon.root / "io.containerd.grpc.v1.cri"
    return {
        "files": lambda: any((kept / "sandboxes").glob("*")),
        "namespaces": lambda: any((cri / "netns").glob("*")),
        "address": lambda: bool(addresses(node)),
        "container folder": lambda: any((kept / "containers").glob("*")),
        "container status": lambda: any((kept / "containers").glob("*/status")),
        "bundle": lambda: any((tasks / "k8s.io").glob("*")),
        "log": lambda: any(node.logs.glob("*/*/0.log")),
    }


@pytest.mark.parametrize(
    "step", ["files", "namespaces", "address", "container folder", "container status", "bundle", "log"]
)
async def test_a_daemon_killed_at_any_step_leaves_nothing_half_done(mortal: CriNode, step: str) -> None:
    async with mortal.client() as cri:
        await cri.pull()
        run("rm", "-rf", str(mortal.logs))
        pod_config = cri.networked()
        config = cri.config("sleep", "1000")
        reached = _pod_steps(mortal)[step]

        async def whole() -> str:
            pod = await cri.run_pod(pod_config)
            container = await cri.create(pod, config)
            await cri.start(container)
            return container

        making = asyncio.ensure_future(whole())
        await until(_made(reached), f"step {step}")
        mortal.daemon.kill()
        with pytest.raises(CortenError):
            await making
        await asyncio.to_thread(mortal.daemon.start)
        await cri.reconnect()
        await _consistent(cri, mortal)
        pods, containers = await cri.pods(), await cri.containers()
        pod = pods[0].id if pods else await cri.run_pod(pod_config)
        container = containers[0].id if containers else await cri.create(pod, config)
        if (await cri.status(container)).state == pb.CONTAINER_CREATED:
            await cri.start(container)
        assert (await cri.status(container)).state == pb.CONTAINER_RUNNING
    assert leftovers(mortal) == []


def _made(reached: Callable[[], bool]) -> Callable[[], Awaitable[bool]]:
    async def condition() -> bool:
        return reached()

    return condition


async def _consistent(cri: Cri, node: CriNode) -> None:
    """What is listed is whole, and there is nothing beside it."""
    pods, containers = await cri.pods(), await cri.containers()
    assert len(pods) <= 1 and len(containers) <= len(pods)
    for pod in pods:
        assert pod.state == pb.SANDBOX_READY
        assert (await cri.pod_status(pod.id)).network.ip in addresses(node)
    assert len(addresses(node)) == len(pods)
    kept = node.daemon.root / "io.containerd.grpc.v1.cri"
    assert [path.name for path in (kept / "sandboxes").glob("*")] == [pod.id for pod in pods]
    assert [path.name for path in (kept / "containers").glob("*")] == [each.id for each in containers]


async def test_many_pods_are_listed_inspected_restarted_over_and_removed(mortal: CriNode) -> None:
    number = count("pods with two containers")
    async with mortal.client() as cri:
        await cri.pull()

        async def pod_of_two() -> tuple[str, str, str]:
            pod = await cri.run_pod(cri.networked())
            return pod, await cri.started(pod, "sleep", "1000"), await cri.started(pod, "sleep", "1000")

        made: list[tuple[str, str, str]] = []
        for _ in range(0, number, 4):
            made += await asyncio.gather(*(pod_of_two() for _ in range(min(4, number - len(made)))))
        mortal.daemon.kill()
        await asyncio.to_thread(mortal.daemon.start)
        await cri.reconnect()
        assert {pod.id for pod in await cri.pods()} == {pod for pod, _, _ in made}
        assert len({(await cri.pod_status(pod)).network.ip for pod, _, _ in made}) == number
        for _, *containers in made:
            for container in containers:
                assert (await cri.status(container)).state == pb.CONTAINER_RUNNING
    assert leftovers(mortal) == []
