"""Figures of usage, out of cgroup metrics of either version."""

from corten.api.cgroups.v1 import metrics_pb2 as v1
from corten.api.cgroups.v2 import metrics_pb2 as v2
from corten.client import usage
from corten.client.tasks import Metric
from corten.contracts.objects import AnyValue


def metric(message: v1.Metrics | v2.Metrics, at: int = 0) -> Metric:
    return Metric("web", at, AnyValue(message.DESCRIPTOR.full_name, message.SerializeToString()))


def test_version_1() -> None:
    message = v1.Metrics(
        pids={"current": 2, "limit": 50},
        cpu={"usage": {"total": 5_000}},
        memory={"usage": {"usage": 1000, "limit": 1 << 62}, "total_inactive_file": 300},
        memory_oom_control={"oom_kill": 4},
        blkio={
            "io_service_bytes_recursive": [{"op": "Read", "value": 1}, {"op": "Write", "value": 2}, {"op": "Total"}]
        },
    )
    found = usage.of(metric(message, at=9))
    assert found == usage.Usage("web", 9, 5000, 700, 0, 2, 50, 1, 2, 4)


def test_version_2() -> None:
    message = v2.Metrics(
        pids={"current": 3},
        cpu={"usage_usec": 7},
        memory={"usage": 1000, "usage_limit": 4096, "inactive_file": 1},
        memory_events={"oom": 9, "oom_kill": 8},
        io={"usage": [{"rbytes": 5, "wbytes": 6}, {"rbytes": 1}]},
    )
    found = usage.of(metric(message))
    assert found == usage.Usage("web", 0, 7000, 999, 4096, 3, 0, 6, 6, 8)


def test_other_metrics_are_none() -> None:
    assert usage.of(Metric("web", 0, AnyValue("example.Metrics", b""))) is None


def test_share_of_a_processor() -> None:
    before, after = usage.Usage("web", 0, 0, 0, 0, 0, 0, 0, 0), usage.Usage("web", 1000, 500, 0, 0, 0, 0, 0, 0)
    assert (after.cpu_share(before), before.cpu_share(before)) == (50.0, 0.0)
