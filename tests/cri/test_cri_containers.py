"""Containers: their life, their logs, how they are stopped, found, and joined by name."""

import asyncio
import os
import resource
import signal
from pathlib import Path

import pytest
from corten.api.cri.v1 import runtime_pb2 as pb
from corten.errors import AlreadyExists, CortenError, FailedPrecondition, InvalidArgument, NotFound
from cri.cri_world import Cri, CriNode, until
from cri.cri_world import context as linux

pytestmark = pytest.mark.integration


async def test_a_container_lives_and_tells_how_it_ended(cri: Cri) -> None:
    pod = await cri.run_pod()
    container = await cri.create(pod, cri.config("sh", "-c", "echo out; echo err >&2; exit 7", labels={"a": "b"}))
    created = await cri.status(container)
    assert (created.state, created.started_at, created.finished_at) == (pb.CONTAINER_CREATED, 0, 0)
    assert created.created_at > 0 and created.labels == {"a": "b"}
    await cri.start(container)
    ended = await cri.ended(container)
    assert (ended.exit_code, ended.reason) == (7, "Error")
    assert created.created_at <= ended.started_at <= ended.finished_at
    assert ended.image.image == cri.node.image()
    assert ended.image_id == await cri.pull()
    assert ended.image_ref.startswith(cri.node.image().removesuffix(":latest") + "@sha256:")
    lines = [line.split(" ", 3)[1:] for line in Path(ended.log_path).read_text().splitlines()]
    assert sorted(lines) == [["stderr", "F", "err"], ["stdout", "F", "out"]]
    done = await cri.ended(await cri.started(pod, "true"))
    assert (done.exit_code, done.reason) == (0, "Completed")


async def test_a_container_that_cannot_be_started_has_ended_with_the_reason(cri: Cri) -> None:
    pod = await cri.run_pod()
    container = await cri.create(pod, cri.config("/no/such/program"))
    with pytest.raises(CortenError, match="/no/such/program"):
        await cri.start(container)
    status = await cri.status(container)
    assert (status.state, status.exit_code, status.reason) == (pb.CONTAINER_EXITED, 128, "StartError")
    assert "/no/such/program" in status.message
    with pytest.raises(FailedPrecondition, match="it is exited"):
        await cri.start(container)


async def test_containers_are_found_by_id_pod_state_and_labels(cri: Cri) -> None:
    pod, other = await cri.run_pod(), await cri.run_pod()
    runs = await cri.started(pod, "sleep", "1000", labels={"colour": "blue"})
    created = await cri.create(pod, cri.config("true", labels={"colour": "blue"}))
    elsewhere = await cri.started(other, "sleep", "1000")

    async def ids(**filter: object) -> set[str]:
        return {each.id for each in await cri.containers(**filter)}

    assert await ids() == {runs, created, elsewhere}
    assert await ids(id=runs[:10]) == {runs}
    assert await ids(pod_sandbox_id=pod) == {runs, created}
    assert await ids(state=pb.ContainerStateValue(state=pb.CONTAINER_CREATED)) == {created}
    assert await ids(label_selector={"colour": "blue"}, pod_sandbox_id=pod[:12]) == {runs, created}
    pages = [page async for page in cri.stream("StreamContainers", pb.StreamContainersRequest())]
    assert {each.id for page in pages for each in page.containers} == {runs, created, elsewhere}


TRAP = "trap 'echo {0}; exit 3' {0}; echo ready; while true; do sleep 0.1; done"


@pytest.mark.parametrize(
    ("image", "requested", "expected"),
    [("busy", pb.RUNTIME_DEFAULT, "TERM"), ("volumes", pb.RUNTIME_DEFAULT, "USR1"), ("volumes", pb.SIGINT, "INT")],
)
async def test_the_stop_signal_is_the_request_s_then_the_image_s(
    cri: Cri, image: str, requested: int, expected: str
) -> None:
    await cri.pull(image)
    pod = await cri.run_pod()
    command = ("sh", "-c", TRAP.format(expected))
    container = await cri.started(pod, *command, image=image, stop_signal=requested)
    await _printed(cri, container, "ready")
    await cri.stop(container, timeout=15)
    assert (await cri.ended(container)).exit_code == 3
    assert (await cri.log(container)).splitlines() == ["ready", expected]
    shown = pb.Signal.Name((await cri.status(container)).stop_signal)
    assert shown == f"SIG{expected}"


async def _printed(cri: Cri, container: str, text: str) -> None:
    async def seen() -> bool:
        return text in await cri.log(container)

    await until(seen, f"container {container} prints {text}")


async def test_a_container_that_does_not_listen_is_killed_when_its_time_is_up(cri: Cri) -> None:
    pod = await cri.run_pod()
    container = await cri.started(pod, "sh", "-c", "trap '' TERM; echo ready; while true; do sleep 0.1; done")
    await _printed(cri, container, "ready")
    await cri.stop(container, timeout=1)
    assert (await cri.status(container)).exit_code == 128 + signal.SIGKILL
    await cri.stop(container, timeout=1)


async def test_a_second_stop_does_not_wait_for_the_first(cri: Cri) -> None:
    pod = await cri.run_pod()
    container = await cri.started(pod, "sh", "-c", "trap '' TERM; echo ready; while true; do sleep 0.1; done")
    await _printed(cri, container, "ready")
    patient = asyncio.ensure_future(cri.stop(container, timeout=600))
    await asyncio.sleep(0.3)
    await cri.stop(container, timeout=0)
    await asyncio.wait_for(patient, 10)


async def test_removing_a_running_container_kills_it_and_leaves_nothing(cri: Cri, node: CriNode) -> None:
    pod = await cri.run_pod()
    container = await cri.started(pod, "sleep", "1000")
    pid = (await cri.info(container))["pid"]
    for _ in range(2):
        await cri.remove(container)
    assert not Path(f"/proc/{pid}").exists()
    assert await cri.containers() == []
    for top in (node.daemon.root, node.daemon.state):
        assert not (top / "io.containerd.grpc.v1.cri" / "containers" / container).exists()


async def test_containers_are_records_of_the_namespace_k8s_io(cri: Cri, node: CriNode) -> None:
    pod = await cri.run_pod()
    container = await cri.started(pod, "sleep", "1000")
    ctr = node.daemon.ctr.__class__(node.daemon.address, "k8s.io")
    assert container in ctr("containers", "ls", "-q").split()
    assert f"{container}    " in ctr("tasks", "ls")
    assert "io.cri-containerd.container.metadata" in ctr("containers", "info", container)


async def test_the_same_request_twice_at_a_time_is_one_container_and_later_the_name_is_taken(cri: Cri) -> None:
    pod = await cri.run_pod()
    config = cri.config("sleep", "1000")
    first, second = await asyncio.gather(cri.create(pod, config), cri.create(pod, config))
    assert first == second
    with pytest.raises(AlreadyExists, match=f"taken by {first}"):
        await cri.create(pod, config)
    await cri.start(first)
    with pytest.raises(AlreadyExists, match=f"taken by {first}"):
        await cri.create(pod, config)
    await cri.remove(first)
    assert await cri.create(pod, config) != first


async def test_what_cannot_be_created_frees_the_name(cri: Cri, node: CriNode) -> None:
    pod = await cri.run_pod()
    config = cri.config("true")
    config.linux.security_context.run_as_username = "nobody-of-that-name"
    with pytest.raises(NotFound, match="nobody-of-that-name"):
        await cri.create(pod, config)
    missing = cri.config("true")
    missing.image.image = cri.node.image("absent")
    with pytest.raises(NotFound, match="absent"):
        await cri.create(pod, missing)
    assert await cri.containers() == []
    assert not list((node.daemon.root / "io.containerd.grpc.v1.cri" / "containers").iterdir())
    config.linux.security_context.run_as_username = "user"
    assert await cri.create(pod, config)


async def test_logs_are_reopened_under_their_path(cri: Cri) -> None:
    pod = await cri.run_pod()
    container = await cri.started(pod, "sh", "-c", "while true; do echo tick; sleep 0.05; done")
    await _printed(cri, container, "tick")
    path = Path((await cri.status(container)).log_path)
    rotated = path.with_suffix(".old")
    os.rename(path, rotated)
    await cri.call("ReopenContainerLog", pb.ReopenContainerLogRequest(container_id=container))
    size = rotated.stat().st_size
    await _printed(cri, container, "tick")
    assert rotated.stat().st_size == size
    await cri.stop(container)
    with pytest.raises(FailedPrecondition):
        await cri.call("ReopenContainerLog", pb.ReopenContainerLogRequest(container_id=container))


async def test_long_lines_are_split_and_marked(cri: Cri) -> None:
    pod = await cri.run_pod()
    command = "head -c 40000 /dev/zero | md5sum > /dev/null; dd if=/dev/zero bs=1 count=0 2>/dev/null; "
    container = await cri.started(pod, "sh", "-c", command + "printf '%40000s' x; echo")
    await cri.ended(container)
    lines = Path((await cri.status(container)).log_path).read_bytes().splitlines()
    tags = [line.split(b" ", 3)[2] for line in lines]
    assert tags == [b"P", b"P", b"F"]
    assert max(len(line.split(b" ", 3)[3]) for line in lines) <= 16 << 10


async def test_resources_are_set_changed_and_told(cri: Cri) -> None:
    pod = await cri.run_pod()
    resources = pb.LinuxContainerResources(
        cpu_shares=512, cpu_quota=50_000, cpu_period=100_000, memory_limit_in_bytes=64 << 20, oom_score_adj=500
    )
    config = cri.config("sleep", "1000")
    config.linux.resources.CopyFrom(resources)
    container = await cri.create(pod, config)
    await cri.start(container)
    pid = (await cri.info(container))["pid"]
    assert _memory_limit(pid) == 64 << 20
    assert Path(f"/proc/{pid}/oom_score_adj").read_text().strip() == "500"
    told = (await cri.status(container)).resources.linux
    told.ClearField("memory_swap_limit_in_bytes")  # set where the host can limit swap
    assert told == resources
    update = pb.LinuxContainerResources(memory_limit_in_bytes=96 << 20, cpu_quota=25_000)
    request = pb.UpdateContainerResourcesRequest(container_id=container, linux=update)
    await cri.call("UpdateContainerResources", request)
    assert _memory_limit(pid) == 96 << 20
    told = (await cri.status(container)).resources.linux
    assert (told.memory_limit_in_bytes, told.cpu_quota, told.cpu_shares) == (96 << 20, 25_000, 512)
    assert (await cri.info(container))["runtimeSpec"]["linux"]["resources"]["memory"]["limit"] == 96 << 20


def _memory_limit(pid: int) -> int:
    for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers == "memory":
            return int(Path(f"/sys/fs/cgroup/memory{path}/memory.limit_in_bytes").read_text())
        if not controllers and Path(f"/sys/fs/cgroup{path}/memory.max").exists():
            return int(Path(f"/sys/fs/cgroup{path}/memory.max").read_text())
    raise AssertionError(f"process {pid} has no memory cgroup")


async def test_a_lower_oom_score_than_the_daemon_may_set_is_raised_not_refused(cri: Cri) -> None:
    pod = await cri.run_pod()
    config = cri.config("sleep", "1000")
    config.linux.resources.CopyFrom(pb.LinuxContainerResources(oom_score_adj=-997))
    container = await cri.create(pod, config)
    await cri.start(container)
    pid = (await cri.info(container))["pid"]
    assert -997 <= int(Path(f"/proc/{pid}/oom_score_adj").read_text()) <= 1000


async def test_a_container_over_its_memory_is_told_to_be_out_of_it(cri: Cri) -> None:
    pod = await cri.run_pod()
    config = cri.config("sh", "-c", "x=a; while true; do x=$x$x; done")
    config.linux.resources.CopyFrom(pb.LinuxContainerResources(memory_limit_in_bytes=16 << 20))
    container = await cri.create(pod, config)
    await cri.start(container)
    status = await cri.ended(container)
    assert (status.exit_code, status.reason) == (137, "OOMKilled")


async def test_a_container_in_a_pod_that_is_not_ready_is_refused(cri: Cri) -> None:
    pod = await cri.run_pod()
    container = await cri.create(pod, cri.config("true"))
    await cri.stop_pod(pod)
    with pytest.raises(FailedPrecondition, match="not ready"):
        await cri.create(pod, cri.config("true"))
    with pytest.raises(FailedPrecondition, match="not ready"):
        await cri.start(container)


async def test_malformed_requests_name_what_is_wrong(cri: Cri) -> None:
    pod = await cri.run_pod()
    for config, text in (
        (pb.ContainerConfig(image=pb.ImageSpec(image=cri.node.image())), "metadata"),
        (cri.config("true", envs=[pb.KeyValue(key="", value=b"x")]), "environment"),
        (cri.config("true", working_dir="relative"), "working directory"),
        (cri.config("true", mounts=[pb.Mount(container_path="relative", host_path="/tmp")]), "absolute"),
        (cri.config("true", stop_signal=99), "signal"),
    ):
        with pytest.raises(InvalidArgument, match=text):
            await cri.create(pod, config)
    with pytest.raises(NotFound):
        await cri.create("0000", cri.config("true"))


async def test_a_stop_whose_client_gave_up_kills_nothing(cri: Cri) -> None:
    pod = await cri.run_pod()
    container = await cri.started(pod, "sh", "-c", "trap : TERM; while true; do sleep 0.1; done")
    with pytest.raises(CortenError):
        request = pb.StopContainerRequest(container_id=container, timeout=2)
        await cri.call("StopContainer", request, timeout=0.5)
    await asyncio.sleep(2.5)
    assert (await cri.status(container)).state == pb.CONTAINER_RUNNING
    await cri.stop(container, timeout=1)
    assert (await cri.status(container)).state == pb.CONTAINER_EXITED


async def test_a_status_always_has_the_limits_that_are_in_force(cri: Cri) -> None:
    pod = await cri.run_pod()
    plain = await cri.create(pod, cri.config("sleep", "1000"))
    assert (await cri.status(plain)).resources.HasField("linux")
    config = cri.config("sleep", "1000")
    config.linux.resources.CopyFrom(pb.LinuxContainerResources(memory_limit_in_bytes=64 << 20, cpu_shares=512))
    limited = await cri.create(pod, config)
    told = (await cri.status(limited)).resources.linux
    assert (told.memory_limit_in_bytes, told.cpu_shares) == (64 << 20, 512)
    change = pb.LinuxContainerResources(memory_limit_in_bytes=128 << 20)
    await cri.call("UpdateContainerResources", pb.UpdateContainerResourcesRequest(container_id=limited, linux=change))
    told = (await cri.status(limited)).resources.linux
    assert (told.memory_limit_in_bytes, told.cpu_shares) == (128 << 20, 512)


async def test_a_privileged_container_may_write_to_sys_beside_a_pause_process(cri: Cri) -> None:
    pod_config = cri.networked()
    pod_config.linux.security_context.privileged = True
    pod = await cri.run_pod(pod_config)
    options = pb.NamespaceOption(network=pb.POD, pid=pb.POD)
    container = await cri.started(pod, "sleep", "1000", linux=linux(privileged=True, namespace_options=options))
    mounts = await cri.output(container, "cat", "/proc/self/mountinfo")
    (sys,) = (line for line in mounts.splitlines() if " /sys " in line)
    assert sys.endswith("sysfs sysfs rw") and " /sys rw" in sys


async def test_a_privileged_container_may_write_to_sys_after_one_that_is_not(cri: Cri) -> None:
    """The first sysfs of a network decides whether any of them can be written to."""
    pod_config = cri.networked()
    pod_config.linux.security_context.privileged = True
    pod = await cri.run_pod(pod_config)
    for privileged, word in ((False, "ro"), (True, "rw"), (False, "ro")):
        options = pb.NamespaceOption(network=pb.POD, pid=pb.CONTAINER)
        wanted = linux(privileged=privileged, namespace_options=options)
        container = await cri.started(pod, "sleep", "1000", linux=wanted)
        mounts = await cri.output(container, "cat", "/proc/self/mountinfo")
        (sys,) = (line for line in mounts.splitlines() if " /sys " in line)
        assert f" /sys {word}," in sys and sys.endswith("sysfs sysfs rw")


async def test_a_container_has_the_limits_of_the_daemon_s_service(cri: Cri, node: CriNode) -> None:
    container = await cri.started(await cri.run_pod(), "sleep", "1000")
    soft, hard = resource.prlimit(node.daemon.pid, resource.RLIMIT_NOFILE)
    assert (await cri.output(container, "sh", "-c", "ulimit -Sn; ulimit -Hn")).split() == [str(soft), str(hard)]
    assert not (await cri.info(container))["runtimeSpec"]["process"]["rlimits"]


async def test_the_verbose_status_has_the_request_with_its_environment_as_text(cri: Cri) -> None:
    envs = [pb.KeyValue(key="K", value=b"v=1"), pb.KeyValue(key="L", value=b"\xff")]
    container = await cri.started(await cri.run_pod(), "sleep", "1000", envs=envs)
    shown = (await cri.info(container))["config"]["envs"]
    assert shown == [{"key": "K", "value": "v=1"}, {"key": "L", "value": "\ufffd"}]
