"""Counters and durations by label, kept by plugins for the metrics endpoint; cheap enough to be kept always."""

from bisect import bisect_left
from collections.abc import Sequence
from itertools import accumulate
from threading import Lock

from corten.contracts.metrics import Distribution, Kind, Metric, Sample

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Upper bounds of durations, those that Prometheus clients take where nothing else is said."""


class Tally:
    """A counter for each combination of labels. Any thread may call."""

    def __init__(self, name: str, help: str, labels: tuple[str, ...] = ()) -> None:
        self._name, self._help, self._labels = name, help, labels
        self._counts: dict[tuple[str, ...], float] = {}
        self._lock = Lock()

    def __repr__(self) -> str:
        return f"Tally({self._name}, {len(self._counts)})"

    def add(self, *labels: str, by: float = 1) -> None:
        """Count `by` more for these values of the labels."""
        with self._lock:
            self._counts[labels] = self._counts.get(labels, 0) + by

    def metric(self) -> Metric:
        with self._lock:
            samples = [Sample(count, labels) for labels, count in self._counts.items()]
        return Metric(self._name, self._help, Kind.COUNTER, samples, self._labels)


class Timings:
    """A histogram for each combination of labels. Any thread may call."""

    def __init__(self, name: str, help: str, labels: tuple[str, ...] = (), bounds: Sequence[float] = SECONDS) -> None:
        self._name, self._help, self._labels, self._bounds = name, help, labels, tuple(bounds)
        self._kept: dict[tuple[str, ...], tuple[list[int], list[float]]] = {}
        self._lock = Lock()

    def __repr__(self) -> str:
        return f"Timings({self._name}, {len(self._kept)})"

    def note(self, value: float, *labels: str) -> None:
        """One more observation."""
        with self._lock:
            if labels not in self._kept:
                self._kept[labels] = ([0] * (len(self._bounds) + 1), [0.0])
            counts, sums = self._kept[labels]
            counts[bisect_left(self._bounds, value)] += 1
            sums[0] += value

    def metric(self) -> Metric:
        with self._lock:
            found = [self._distribution(labels, counts, sums[0]) for labels, (counts, sums) in self._kept.items()]
        return Metric(self._name, self._help, Kind.HISTOGRAM, found, self._labels)

    def _distribution(self, labels: tuple[str, ...], counts: list[int], total: float) -> Distribution:
        *at_most, count = accumulate(counts)
        return Distribution(self._bounds, tuple(at_most), count, total, labels)
