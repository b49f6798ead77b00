"""Metrics in the formats that scrapers read, by the library of Prometheus; imported only where the endpoint is on."""

from collections.abc import Iterator, Sequence

from corten.contracts.metrics import Distribution, Kind, Metric, Sample
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import HistogramMetricFamily
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

PROCESS = ProcessCollector(registry=None)
"""CPU time, memory, descriptors and start of this process under the names that all clients of Prometheus use."""


class _Told(Collector):
    def __init__(self, metrics: Sequence[Metric]) -> None:
        self._metrics = metrics

    def collect(self) -> Iterator[Family]:
        yield from map(_family, self._metrics)
        yield from PROCESS.collect()


def encoded(metrics: Sequence[Metric], accept: str) -> tuple[bytes, str]:
    """The text and its content type: OpenMetrics for whoever accepts it, else Prometheus's own."""
    encode, content_type = choose_encoder(accept)
    return encode(_Told(metrics)), content_type


def _family(metric: Metric) -> Family:
    if metric.kind is Kind.HISTOGRAM:
        histogram = HistogramMetricFamily(metric.name, metric.help, labels=metric.labels)
        for each in metric.samples:
            if isinstance(each, Distribution):
                histogram.add_metric(each.labels, _buckets(each), each.sum)
        return histogram
    # The formats name a counter without the end that its samples have.
    counter = metric.kind is Kind.COUNTER
    family = Family(metric.name.removesuffix("_total") if counter else metric.name, metric.help, str(metric.kind))
    name = family.name + "_total" if counter else metric.name
    for each in metric.samples:
        if isinstance(each, Sample):
            family.add_sample(name, dict(zip(metric.labels, each.labels, strict=True)), each.value)
    return family


def _buckets(each: Distribution) -> list[tuple[str, float]]:
    bounds = [str(float(bound)) for bound in each.bounds]
    return [*zip(bounds, map(float, each.at_most), strict=True), ("+Inf", float(each.count))]
