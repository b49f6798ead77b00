"""Statistics and metrics of containers and pods: of real ones, and read out of made figures and made trees."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from corten.api.cgroups.v1 import metrics_pb2 as v1
from corten.api.cgroups.v2 import metrics_pb2 as v2
from corten.api.cri.v1 import runtime_pb2 as pb
from corten.contracts.objects import AnyValue
from corten.errors import NotFound, Unavailable, Unimplemented
from corten_cri.state.containers import Container
from corten_cri.stats import figures, pod_cgroups
from corten_cri.stats.descriptors import descriptors
from corten_cri.stats.figures import Cpu, Figures
from corten_cri.stats.interfaces import parse
from corten_cri.stats.messages import container_stats
from corten_cri.stats.samples import AT_ONCE, Sample, Samples
from cri.cri_world import Cri, until

SECOND = 1_000_000_000


async def stats(cri: Cri, container: str) -> Any:
    return (await cri.call("ContainerStats", pb.ContainerStatsRequest(container_id=container))).stats


@pytest.mark.integration
async def test_a_container_that_works_is_seen_to_work(cri: Cri) -> None:
    pod = await cri.run_pod(cri.networked())
    container = await cri.started(
        pod, "sh", "-c", "dd if=/dev/zero of=/data/file bs=1024 count=300 2>/dev/null; while :; do :; done",
        labels={"kind": "busy"}, linux=pb.LinuxContainerConfig(),
    )  # fmt: skip

    async def seen() -> bool:
        found = await stats(cri, container)
        return bool(found.cpu.usage_nano_cores.value > 100_000_000 and found.memory.working_set_bytes.value)

    await until(seen, "the processor is seen to be used")
    found = await stats(cri, container)
    assert found.attributes.id == container and found.attributes.labels == {"kind": "busy"}
    assert found.cpu.usage_core_nano_seconds.value > 1_000_000 and found.cpu.timestamp > 0
    assert found.memory.usage_bytes.value >= found.memory.working_set_bytes.value > 0
    assert found.memory.page_faults.value > 0 and found.memory.HasField("available_bytes")
    assert found.swap.HasField("swap_usage_bytes")
    assert found.writable_layer.fs_id.mountpoint.endswith("io.containerd.snapshotter.v1.overlayfs")
    listed = await cri.call("ListContainerStats", pb.ListContainerStatsRequest())
    assert container in [each.attributes.id for each in listed.stats]
    for wanted, count in (({"kind": "busy"}, 1), ({"kind": "idle"}, 0)):
        request = pb.ListContainerStatsRequest(
            filter=pb.ContainerStatsFilter(pod_sandbox_id=pod[:10], label_selector=wanted)
        )
        assert len((await cri.call("ListContainerStats", request)).stats) == count
    pages = [page async for page in cri.stream("StreamContainerStats", pb.StreamContainerStatsRequest())]
    assert container in [each.attributes.id for page in pages for each in page.container_stats]


@pytest.mark.integration
async def test_the_writable_layer_is_measured(cri: Cri) -> None:
    pod = await cri.run_pod()
    container = await cri.started(pod, "sh", "-c", "dd if=/dev/zero of=/data/file bs=1024 count=300; sleep 1000")
    await until(lambda: has_file(cri, container), "the file is written")
    layer = (await stats(cri, container)).writable_layer
    assert layer.used_bytes.value >= 300 << 10 and layer.inodes_used.value >= 2 and layer.timestamp > 0


async def has_file(cri: Cri, container: str) -> bool:
    return "307200" in (await cri.exec(container, "stat", "-c", "%s", "/data/file")).stdout.decode()


@pytest.mark.integration
async def test_a_container_that_has_ended_has_attributes_and_a_layer_only(cri: Cri) -> None:
    pod = await cri.run_pod()
    container = await cri.started(pod, "true")
    await cri.ended(container)
    found = await stats(cri, container)
    assert found.attributes.id == container and not found.HasField("cpu") and found.HasField("writable_layer")
    with pytest.raises(NotFound):
        await stats(cri, "none-of-that-id")


@pytest.mark.integration
async def test_a_pod_has_the_sum_its_network_and_its_containers(cri: Cri) -> None:
    pod = await cri.run_pod(cri.networked(labels={"app": "net"}))
    empty = await cri.run_pod(cri.networked())
    options = pb.NamespaceOption(network=pb.POD, pid=pb.CONTAINER)
    linux = pb.LinuxContainerConfig(security_context=pb.LinuxContainerSecurityContext(namespace_options=options))
    container = await cri.started(pod, "sleep", "1000", linux=linux)
    asked = pb.PodSandboxStatsRequest(pod_sandbox_id=pod)

    async def alone() -> bool:
        return bool((await cri.call("PodSandboxStats", asked)).stats.linux.process.process_count.value == 1)

    await until(alone, "the threads of runc's init have become one process")  # it is begun when a start returns
    found = (await cri.call("PodSandboxStats", asked)).stats
    assert found.attributes.id == pod and [each.attributes.id for each in found.linux.containers] == [container]
    assert found.linux.cpu.usage_core_nano_seconds.value > 0 and found.linux.memory.usage_bytes.value > 0
    assert found.linux.network.default_interface.name == "eth0"
    assert found.linux.network.default_interface.HasField("rx_bytes")
    listed = (await cri.call("ListPodSandboxStats", pb.ListPodSandboxStatsRequest())).stats
    by_id = {each.attributes.id: each for each in listed}
    assert by_id.keys() >= {pod, empty}
    assert [each.name for each in by_id[empty].linux.network.interfaces] == ["eth0"], "also with no process in it"
    pages = [page async for page in cri.stream("StreamPodSandboxStats", pb.StreamPodSandboxStatsRequest())]
    assert {each.attributes.id for page in pages for each in page.pod_sandbox_stats} >= {pod, empty}
    wanted = pb.ListPodSandboxStatsRequest(filter=pb.PodSandboxStatsFilter(label_selector={"app": "net"}))
    assert [each.attributes.id for each in (await cri.call("ListPodSandboxStats", wanted)).stats] == [pod]
    await cri.stop_pod(pod)
    with pytest.raises(Unavailable):
        await cri.call("PodSandboxStats", pb.PodSandboxStatsRequest(pod_sandbox_id=pod))


@pytest.mark.integration
async def test_metrics_have_the_labels_that_are_described(cri: Cri) -> None:
    offered = (await cri.call("ListMetricDescriptors", pb.ListMetricDescriptorsRequest())).descriptors
    keys = {each.name: list(each.label_keys) for each in offered}
    assert len(keys) == 49 and all(each.help for each in offered)
    pod = await cri.run_pod(cri.networked())
    limits = pb.LinuxContainerResources(
        cpu_period=100_000, cpu_quota=20_000, cpu_shares=512, memory_limit_in_bytes=64 << 20,
        memory_swap_limit_in_bytes=64 << 20,
    )  # fmt: skip
    container = await cri.started(pod, "sleep", "1000", linux=pb.LinuxContainerConfig(resources=limits))
    found = (await cri.call("ListPodSandboxMetrics", pb.ListPodSandboxMetricsRequest())).pod_metrics
    own = next(each for each in found if each.pod_sandbox_id == pod)
    inside = next(each for each in own.container_metrics if each.container_id == container)
    values: dict[str, int] = {}
    for metric in [*own.metrics, *inside.metrics]:
        assert len(metric.label_values) == len(keys[metric.name]), metric.name
        values[metric.name] = metric.value.value
    optional = {name for name in keys if "_fs_reads" in name or "_fs_writes" in name or "blkio" in name}
    assert keys.keys() - values.keys() - optional <= {"container_spec_memory_reservation_limit_bytes"}
    assert values["container_threads"] >= values["container_processes"] == 1
    assert values["container_file_descriptors"] >= 3 and values["container_spec_cpu_shares"] == 512
    assert values["container_spec_memory_limit_bytes"] == 64 << 20 and values["container_fs_limit_bytes"] > 1 << 20
    pages = [page async for page in cri.stream("StreamPodSandboxMetrics", pb.StreamPodSandboxMetricsRequest())]
    assert pod in [each.pod_sandbox_id for page in pages for each in page.pod_sandbox_metrics]


# ---------------------------------------------------------------- figures
def packed(message: Any) -> AnyValue:
    return AnyValue(f"types.example/{message.DESCRIPTOR.full_name}", message.SerializeToString())


def test_figures_of_version_one() -> None:
    found = figures.of_task(packed(v1.Metrics(
        cpu=v1.CPUStat(usage=v1.CPUUsage(total=50, user=30, kernel=20), throttling=v1.Throttle(periods=4)),
        memory=v1.MemoryStat(
            total_rss=7, total_inactive_file=40, usage=v1.MemoryEntry(usage=100, limit=200, max=150, failcnt=2),
            swap=v1.MemoryEntry(usage=130, limit=260),
        ),
        pids=v1.PidsStat(current=3, limit=9), memory_oom_control=v1.MemoryOomControl(oom_kill=1),
        blkio=v1.BlkIOStat(
            io_service_bytes_recursive=[v1.BlkIOEntry(op="Read", major=8, minor=1, value=512)],
            io_serviced_recursive=[v1.BlkIOEntry(op="Read", major=8, minor=1, value=2)],
        ),
    )))  # fmt: skip
    assert found.cpu == Cpu(50, 30, 20, 4)
    assert found.memory is not None and (found.memory.working_set, found.memory.available) == (60, 140)
    assert (found.memory.swap, found.memory.swap_limit, found.memory.failures) == (30, 60, 2)
    assert (found.tasks, found.tasks_limit, found.oom_kills) == (3, 9, 1)
    assert [(each.device, each.bytes, each.count) for each in found.transfers] == [("8:1", 512, 2)]


def test_figures_of_version_two_with_pressure() -> None:
    line = v2.PSIData(avg10=1.5, avg60=2, avg300=3, total=10)
    psi = v2.PSIStats(some=line, full=line)
    found = figures.of_task(packed(v2.Metrics(
        cpu=v2.CPUStat(usage_usec=5, user_usec=3, system_usec=2, nr_throttled=1, psi=psi),
        memory=v2.MemoryStat(usage=100, usage_limit=1 << 63, anon=7, inactive_file=120, swap_usage=5, swap_limit=50),
        io=v2.IOStat(usage=[v2.IOEntry(major=8, rbytes=1, wbytes=2, rios=3, wios=4)], psi=psi),
        memory_events=v2.MemoryEvents(oom_kill=2),
    )))  # fmt: skip
    assert found.cpu is not None and (found.cpu.total, found.cpu.throttled_periods) == (5000, 1)
    assert found.memory is not None and (found.memory.working_set, found.memory.available, found.memory.limit) == (
        0,
        0,
        0,
    )
    assert [(each.operation, each.bytes, each.count) for each in found.transfers] == [("Read", 1, 3), ("Write", 2, 4)]
    assert found.tasks is None and found.oom_kills == 2
    message = container_stats(Container("c", "c", "p", pb.ContainerConfig(), "i"), Sample(found, 9), None, "/root")
    assert message.cpu.psi.Some.Avg10 == 1.5 and message.cpu.psi.Full.Total == 10_000
    assert message.io.psi.Some.Avg300 == 3 and message.cpu.usage_nano_cores.value == 9
    assert (message.swap.swap_usage_bytes.value, message.swap.swap_available_bytes.value) == (5, 45)


def test_other_statistics_are_refused() -> None:
    with pytest.raises(Unimplemented, match=r"vendor\.Stats"):
        figures.of_task(AnyValue("x/vendor.Stats", b""))


def test_the_cgroup_of_a_pod_in_version_two(tmp_path: Path) -> None:
    made = tmp_path / "kubepods.slice/kubepods-pod1.slice"
    made.mkdir(parents=True)
    (tmp_path / "cgroup.controllers").write_text("cpu memory\n")
    (made / "cpu.stat").write_text("usage_usec 7\nuser_usec 4\nsystem_usec 3\n")
    (made / "memory.current").write_text("100\n")
    (made / "memory.max").write_text("max\n")
    (made / "memory.stat").write_text("anon 60\ninactive_file 30\npgfault 9\n")
    found = pod_cgroups.read("/kubepods.slice/kubepods-pod1.slice", str(tmp_path))
    assert found is not None and found.cpu == Cpu(7000, 4000, 3000)
    assert found.memory is not None and (found.memory.working_set, found.memory.limit, found.memory.rss) == (70, 0, 60)


def test_the_cgroup_of_a_pod_in_version_one(tmp_path: Path) -> None:
    for controller, name, text in (
        ("cpuacct", "cpuacct.usage", "7"),
        ("memory", "memory.usage_in_bytes", "100"),
        ("memory", "memory.limit_in_bytes", "9223372036854771712"),
        ("memory", "memory.stat", "total_rss 60\ntotal_inactive_file 30\n"),
    ):
        folder = tmp_path / controller / "kubepods/pod1"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    found = pod_cgroups.read("/kubepods/pod1", str(tmp_path))
    assert found is not None and found.cpu == Cpu(7)
    assert found.memory is not None and (found.memory.working_set, found.memory.limit) == (70, 0)


@pytest.mark.parametrize("parent", ["", "/", "/none", "/../etc", "../../x", "bad--name.slice"])
def test_a_pod_without_a_cgroup_of_its_own_has_no_figures_of_one(tmp_path: Path, parent: str) -> None:
    (tmp_path / "cgroup.controllers").write_text("")
    assert pod_cgroups.read(parent, str(tmp_path)) is None


def test_counters_of_interfaces() -> None:
    lines = ["Inter-| Receive", " face |bytes", " lo: 1 1 0 0 0 0 0 0 1 1 0 0", "eth0: 10 2 3 4 0 0 0 0 20 5 6 7 0 0"]
    text = "\n".join(lines)
    assert [(each.name, each.rx, each.tx) for each in parse(text)] == [("eth0", (10, 2, 3, 4), (20, 5, 6, 7))]


# ---------------------------------------------------------------- samples
def at(second: float, total: int) -> Figures:
    return Figures(int(second * SECOND), Cpu(total))


async def read(figures: Figures) -> Figures:
    return figures


async def test_the_rate_is_that_between_two_readings() -> None:
    now = 0

    async def take(id: str, found: Figures, since: int = 0) -> int | None:
        nonlocal now
        now = found.at
        return (await samples.take(id, lambda: read(found), since)).nano_cores

    samples = Samples(1.0, lambda: now)
    assert await take("a", at(10, SECOND), since=8 * SECOND) == SECOND // 2, "first the average since the start"
    assert await take("a", at(10.5, 9 * SECOND)) == SECOND // 2, "what was just read is not read again"
    assert await take("a", at(12, 5 * SECOND)) == 2 * SECOND
    assert await take("b", at(12, 5)) is None, "nothing is known of it yet"
    assert await take("b", at(14, 5 + SECOND)) == SECOND // 2
    assert await take("a", at(16, 7)) is None, "a counter that went back: what is summed is less now"
    assert await take("a", at(18, 7 + 2 * SECOND)) == SECOND
    samples.forget("a")
    assert await take("a", at(19, 8 * SECOND)) is None


async def test_a_reading_that_is_wanted_twice_is_made_once_and_many_are_not_made_at_once() -> None:
    samples, under_way, most, made = Samples(1.0), 0, 0, 0

    async def slow() -> Figures:
        nonlocal under_way, most, made
        under_way, made = under_way + 1, made + 1
        most = max(most, under_way)
        await asyncio.sleep(0.001)
        under_way -= 1
        return at(1, 1)

    await asyncio.gather(*(samples.take(f"c{number % 200}", slow) for number in range(400)))
    assert made == 200 and most <= AT_ONCE


def test_every_metric_is_described_once() -> None:
    names = [each.name for each in descriptors()]
    assert len(names) == len(set(names)) == 49
