"""The cgroup readers on made trees: both versions, missing files, odd words."""

from collections.abc import Mapping
from pathlib import Path

import pytest
from corten.errors import FailedPrecondition
from corten.linux import mountinfo
from corten_runtimes.shim import cgroups, cgroups_v1, cgroups_v2
from corten_runtimes.shim.cgroups import Cgroups
from corten_runtimes.shim.cgroups_files import UNLIMITED


def _tree(root: Path, files: Mapping[str, str]) -> str:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return str(root)


def _mounts(*lines: str) -> list[mountinfo.Mounted]:
    return [mountinfo.parse(line.encode()) for line in lines]


V2_MOUNT = "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate"
HYBRID = _mounts(
    "31 23 0:27 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw",
    "32 23 0:28 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct",
    "33 23 0:29 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory",
    "34 23 0:30 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd",
)


def test_version_two_has_one_directory() -> None:
    assert cgroups.locate("0::/system.slice/a b\n", _mounts(V2_MOUNT)) == {"": "/sys/fs/cgroup/system.slice/a b"}


def test_hybrid_has_both_versions() -> None:
    lines = "9:name=systemd:/\n4:memory:/x/y\n2:cpu,cpuacct:/x\n0::/x/y\n"
    assert cgroups.locate(lines, HYBRID) == {
        "name=systemd": "/sys/fs/cgroup/systemd",
        "memory": "/sys/fs/cgroup/memory/x/y",
        "cpu": "/sys/fs/cgroup/cpu,cpuacct/x",
        "cpuacct": "/sys/fs/cgroup/cpu,cpuacct/x",
        "": "/sys/fs/cgroup/unified/x/y",
    }


def test_a_mount_of_part_of_the_hierarchy() -> None:
    mounts = _mounts("30 23 0:26 /docker/outer /sys/fs/cgroup rw - cgroup2 cgroup2 rw")
    assert cgroups.locate("0::/docker/outer/inner\n", mounts) == {"": "/sys/fs/cgroup/inner"}


def test_metrics_of_version_two(tmp_path: Path) -> None:
    path = _tree(
        tmp_path,
        {
            "pids.current": "3\n",
            "pids.max": "max\n",
            "cpu.stat": "usage_usec 500\nuser_usec 300\nsystem_usec 200\nnr_periods 4\nnr_throttled 1\nfuture_word 9\n",
            "cpu.pressure": "some avg10=1.50 avg60=0.25 avg300=0.00 total=77\nfull avg10=0.00 avg60=0.00 total=5\n",
            "memory.stat": "anon 4096\nfile 8192\nworkingset_refault_file 6\npgfault 12\n",
            "memory.current": "12288\n",
            "memory.max": "max\n",
            "memory.peak": "20480\n",
            "memory.swap.current": "0\n",
            "memory.swap.max": "1048576\n",
            "memory.events": "low 0\nhigh 1\nmax 2\noom 3\noom_kill 4\noom_group_kill 0\n",
            "io.stat": "8:0 rbytes=1024 wbytes=2048 rios=1 wios=2 dbytes=0 dios=0\n253:1 \n",
            "hugetlb.2MB.current": "2097152\n",
            "hugetlb.2MB.max": "max\n",
            "hugetlb.2MB.events": "max 5\n",
            "hugetlb.2MB.rsvd.current": "1\n",
            "rdma.current": "mlx4_0 hca_handle=2 hca_object=2000\n",
            "rdma.max": "mlx4_0 hca_handle=max hca_object=3000\n",
        },
    )
    metrics = cgroups_v2.read(path)
    assert (metrics.pids.current, metrics.pids.limit) == (3, 0)
    assert (metrics.cpu.usage_usec, metrics.cpu.nr_throttled) == (500, 1)
    assert (metrics.cpu.psi.some.avg10, metrics.cpu.psi.some.total, metrics.cpu.psi.full.total) == (1.5, 77, 5)
    assert (metrics.memory.anon, metrics.memory.workingset_refault, metrics.memory.usage) == (4096, 6, 12288)
    assert (metrics.memory.usage_limit, metrics.memory.max_usage, metrics.memory.swap_limit) == (
        UNLIMITED,
        20480,
        1 << 20,
    )
    assert (metrics.memory_events.oom, metrics.memory_events.oom_kill) == (3, 4)
    assert [(e.major, e.minor, e.rbytes, e.wios) for e in metrics.io.usage] == [(8, 0, 1024, 2), (253, 1, 0, 0)]
    assert [(h.pagesize, h.current, h.max, h.failcnt) for h in metrics.hugetlb] == [("2MB", 2097152, UNLIMITED, 5)]
    assert metrics.rdma.limit[0].hca_handles == (1 << 32) - 1


def test_metrics_of_version_one(tmp_path: Path) -> None:
    _tree(
        tmp_path,
        {
            "pids/pids.current": "2\n",
            "pids/pids.max": "17\n",
            "cpuacct/cpuacct.usage": "123456\n",
            "cpuacct/cpuacct.stat": "user 3\nsystem 2\n",
            "cpuacct/cpuacct.usage_percpu": "100000 23456 \n",
            "cpu/cpu.stat": "nr_periods 5\nnr_throttled 2\nthrottled_time 999\n",
            "memory/memory.stat": "cache 1\nrss 2\ntotal_rss 3\npgpgin 4\nhierarchical_memsw_limit 5\nunheard_of 6\n",
            "memory/memory.usage_in_bytes": "4096\n",
            "memory/memory.limit_in_bytes": "9223372036854771712\n",
            "memory/memory.failcnt": "8\n",
            "memory/memory.oom_control": "oom_kill_disable 0\nunder_oom 1\noom_kill 2\n",
            "blkio/blkio.throttle.io_service_bytes": "8:0 Read 10\n8:0 Write 20\nTotal 30\n",
            "blkio/blkio.throttle.io_serviced": "8:0 Read 1\nTotal 1\n",
            "hugetlb/hugetlb.1GB.usage_in_bytes": "5\n",
        },
    )
    paths = {entry.name: str(entry) for entry in tmp_path.iterdir()} | {"devices": "/nowhere"}
    metrics = cgroups_v1.read(paths)
    assert (metrics.pids.current, metrics.pids.limit) == (2, 17)
    assert (metrics.cpu.usage.total, list(metrics.cpu.usage.per_cpu)) == (123456, [100000, 23456])
    assert metrics.cpu.usage.user == 3 * 10_000_000
    assert (metrics.cpu.throttling.throttled_periods, metrics.cpu.throttling.throttled_time) == (2, 999)
    memory = metrics.memory
    assert (memory.rss, memory.total_rss, memory.pg_pg_in, memory.hierarchical_swap_limit) == (2, 3, 4, 5)
    assert (memory.usage.usage, memory.usage.failcnt) == (4096, 8)
    assert not memory.HasField("swap"), "a kernel without swap accounting has no numbers for it"
    assert metrics.memory_oom_control.oom_kill == 2
    assert [(e.op, e.value) for e in metrics.blkio.io_service_bytes_recursive] == [("Read", 10), ("Write", 20)]
    assert metrics.hugetlb[0].pagesize == "1GB"


def test_pids_are_those_of_all_levels(tmp_path: Path) -> None:
    path = _tree(tmp_path, {"cgroup.procs": "9\n3\n", "a/cgroup.procs": "", "a/b/cgroup.procs": "12\n"})
    assert Cgroups({"": path}).pids() == [3, 9, 12]
    assert Cgroups({"": str(tmp_path / "gone")}).pids() == []
    assert Cgroups({}).pids() == []


def test_metrics_of_a_container_that_has_gone(tmp_path: Path) -> None:
    with pytest.raises(FailedPrecondition, match="no cgroup"):
        Cgroups({"": str(tmp_path / "gone")}).metrics()
    assert Cgroups({"": str(tmp_path)}).metrics().DESCRIPTOR.full_name == "io.containerd.cgroups.v2.Metrics"
