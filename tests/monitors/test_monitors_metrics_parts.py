"""What plugins tell is put together; one that fails, hangs or tells nonsense is left out, counted and named."""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass

import pytest
from corten.api.cgroups.v1 import metrics_pb2 as v1
from corten.api.cgroups.v2 import metrics_pb2 as v2
from corten.contracts.metrics import Kind, Metric, Sample
from corten.errors import Unavailable
from corten.plugin.model import Registration, State
from corten.plugin.record import PluginRecord
from corten.plugin.types import PluginType
from corten.tallies import Tally, Timings
from corten_monitors.metrics.gathering import Gathering
from corten_monitors.metrics.reading import figures
from corten_monitors.metrics.text import encoded
from prometheus_client.parser import text_string_to_metric_families

TYPE: PluginType[object] = PluginType("test.teller.v1")


def gauge(name: str, *samples: Sample, labels: tuple[str, ...] = ()) -> Metric:
    return Metric(name, "A figure.", Kind.GAUGE, samples, labels)


@dataclass
class Teller:
    metrics: Sequence[object] = ()
    error: BaseException | None = None
    hangs: bool = False

    async def tell_metrics(self) -> Sequence[object]:
        if self.hangs:
            await asyncio.Event().wait()
        if self.error:
            raise self.error
        return self.metrics


async def told(**tellers: object) -> dict[str, Metric]:
    plugins = {
        name: PluginRecord(Registration(TYPE, name, lambda _: None), state=State.OK, instance=instance)
        for name, instance in tellers.items()
    }
    return {metric.name: metric for metric in await Gathering(plugins, deadline=0.2).metrics()}


async def test_samples_of_two_plugins_are_one_metric() -> None:
    labels = ("of",)
    one, two = (Teller([gauge("x_bytes", Sample(n, (str(n),)), labels=labels)]) for n in (1, 2))
    found = await told(one=one, two=two, neither=object())
    assert found["x_bytes"].samples == [Sample(1, ("1",)), Sample(2, ("2",))]
    assert found["corten_plugins"].samples == [Sample(3, ("ok",))]


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (Teller(error=Unavailable("the drive is off")), "the drive is off"),
        (Teller(error=ValueError("no")), "ValueError('no')"),
        (Teller(hangs=True), "no answer within 0.2 s"),
        (Teller(["text"]), "it told a str, not a Metric"),
        (Teller([gauge("y", Sample(1, ("a",)))]), "metric y: a sample has not one value for each of ()"),
    ],
    ids=["corten", "foreign", "hangs", "nonsense", "labels"],
)
async def test_one_that_fails_harms_nobody(bad: Teller, reason: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        found = await told(bad=bad, good=Teller([gauge("x", Sample(1))]))
    assert found["x"].samples == (Sample(1),) and "y" not in found
    assert found["corten_metrics_failures_total"].samples == [Sample(1, ("bad",))]
    assert f"metrics of plugin bad are left out: {reason}" in caplog.text


async def test_what_contradicts_is_left_out(caplog: pytest.LogCaptureFixture) -> None:
    one, two = Teller([gauge("x", Sample(1))]), Teller([gauge("x", Sample(2, ("a",)), labels=("of",))])
    found = await told(one=one, two=two)
    assert len(found["x"].samples) == 1
    assert "metric x is told with two kinds or sets of labels" in caplog.text


def test_counters_and_histograms_as_text() -> None:
    tally, times = Tally("t_total", "Things.", ("of",)), Timings("s_seconds", "Times.", bounds=(1.0, 2.0))
    tally.add('a"b\\\n')
    tally.add('a"b\\\n', by=2)
    for seconds in (0.5, 1.0, 1.5, 3.0):
        times.note(seconds)
    body, _ = encoded([tally.metric(), times.metric()], "")
    samples = [s for family in text_string_to_metric_families(body.decode()) for s in family.samples]
    values = {(s.name, s.labels.get("le", ""), s.labels.get("of", "")): s.value for s in samples}
    assert values["t_total", "", 'a"b\\\n'] == 3
    assert [values["s_seconds_bucket", le, ""] for le in ("1.0", "2.0", "+Inf")] == [2, 3, 4]
    assert (values["s_seconds_count", "", ""], values["s_seconds_sum", "", ""]) == (4, 6)


def names(message: v1.Metrics | v2.Metrics) -> dict[tuple[str, ...], float]:
    url = f"type.googleapis.com/{message.DESCRIPTOR.full_name}"
    return {(figure.name, *labels): value for figure, labels, value in figures(url, message.SerializeToString())}


def test_cgroup_v1_under_containerds_names() -> None:
    """The names are those that containerd 2.4 answers with."""
    message = v1.Metrics()
    message.memory.usage.failcnt, message.memory.kernel_tcp.max = 1, 2
    message.memory.pg_maj_fault, message.memory.total_pg_pg_in, message.memory.hierarchical_swap_limit = 3, 4, 5
    message.cpu.usage.per_cpu.extend([6, 7])
    message.cpu.throttling.throttled_periods = 8
    message.hugetlb.add(usage=9, pagesize="2MB")
    message.blkio.io_service_bytes_recursive.add(op="Read", device="sda", major=8, minor=1, value=10)
    found = names(message)
    wanted = {
        ("memory_usage_failcnt_total",): 1,
        ("memory_kerneltcp_max_bytes",): 2,
        ("memory_pgmajfault_bytes",): 3,
        ("memory_total_pgpgin_bytes",): 4,
        ("memory_hierarchical_memsw_limit_bytes",): 5,
        ("per_cpu_nanoseconds", "1"): 7,
        ("cpu_throttled_periods_total",): 8,
        ("hugetlb_usage_bytes", "2MB"): 9,
        ("blkio_io_service_bytes_recursive_bytes", "Read", "sda", "8", "1"): 10,
    }
    assert {name: found.get(name) for name in wanted} == wanted
    assert ("pids_current",) not in found


def test_cgroup_v2_under_containerds_names() -> None:
    message = v2.Metrics()
    message.pids.current, message.cpu.usage_usec, message.cpu.nr_throttled = 1, 2, 3
    message.memory.usage, message.memory.file_mapped, message.memory_events.oom = 4, 5, 6
    message.io.usage.add(major=8, minor=1, rbytes=7, wios=8)
    found = names(message)
    wanted = {
        ("pids_current",): 1,
        ("cpu_usage_usec_microseconds",): 2,
        ("cpu_nr_throttled_total",): 3,
        ("memory_usage_bytes",): 4,
        ("memory_file_mapped_bytes",): 5,
        ("memory_oom_total",): 6,
        ("io_rbytes_bytes", "8", "1"): 7,
        ("io_wios_total", "8", "1"): 8,
    }
    assert {name: found.get(name) for name in wanted} == wanted


def test_statistics_of_another_kind_tell_nothing() -> None:
    assert list(figures("type.googleapis.com/example.Windows", b"")) == []
