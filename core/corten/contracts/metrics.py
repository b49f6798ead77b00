"""Contract of metrics: how any plugin, of whatever type, lets its figures be read at the metrics endpoint.

An instance that has `tell_metrics` takes part; nothing is registered. Names follow Prometheus: lower case and
underscores, the unit at the end (`_seconds`, `_bytes`), counters with `_total`. A plugin's own begin with a word of its
own; those that containerd has keep containerd's names. `corten.tallies` has the counters to keep them with.
"""

from collections.abc import Sequence
from enum import StrEnum
from typing import Protocol, runtime_checkable

from corten.values import dataclass


class Kind(StrEnum):
    """What may be done with the figures: counters only grow, gauges go up and down, histograms have buckets."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


@dataclass(frozen=True, slots=True)
class Sample:
    """A figure of a counter or gauge; `labels` are the values for the names of its metric, in their order."""

    value: float
    labels: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Distribution:
    """A figure of a histogram: for each upper bound, ascending and without +Inf, how many were at most that."""

    bounds: tuple[float, ...]
    at_most: tuple[int, ...]
    count: int
    sum: float
    labels: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric with all its figures."""

    name: str
    help: str
    kind: Kind
    samples: Sequence[Sample | Distribution]
    labels: tuple[str, ...] = ()
    """The names of the labels."""


@runtime_checkable
class TellsMetrics(Protocol):
    """What an instance of a plugin may be besides."""

    async def tell_metrics(self) -> Sequence[Metric]:
        """The figures now. Called on the event loop when somebody asks, under a deadline; what it raises is logged.

        Two plugins may tell of one metric: their samples are put together if names of labels and kind are the same.
        """
        ...
