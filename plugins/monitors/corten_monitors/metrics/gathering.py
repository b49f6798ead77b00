"""All figures of the daemon at one moment, asked of every plugin that tells some."""

import asyncio
import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

from corten import CONTAINERD_VERSION, REVISION
from corten.contracts.metrics import Kind, Metric, Sample, TellsMetrics
from corten.errors import CortenError, Internal
from corten.plugin.model import PluginView, State
from corten.tallies import Tally

log = logging.getLogger(__name__)

DEADLINE = 5.0
"""Seconds that one plugin has; Prometheus itself gives a scrape 10."""


class Gathering:
    """Reads; used on the event loop."""

    def __init__(self, plugins: Mapping[str, PluginView], deadline: float = DEADLINE) -> None:
        self._plugins = plugins
        self._deadline = deadline
        self._failures = Tally(
            "corten_metrics_failures_total", "Plugins that could not tell their metrics when asked.", ("plugin",)
        )
        self._told: dict[str, str] = {}

    def __repr__(self) -> str:
        return f"Gathering({len(self._telling())} plugins)"

    async def metrics(self) -> Sequence[Metric]:
        """What is there; a plugin that fails or takes too long is left out, counted and named in the log."""
        found = await asyncio.gather(*(self._ask(uri, source) for uri, source in self._telling()))
        return merged(
            [_build(), self._states(), *(metric for each in found for metric in each), self._failures.metric()]
        )

    def _telling(self) -> list[tuple[str, TellsMetrics]]:
        up = [(uri, view.instance) for uri, view in self._plugins.items() if view.state is State.OK]
        return [(uri, instance) for uri, instance in up if isinstance(instance, TellsMetrics)]

    async def _ask(self, uri: str, source: TellsMetrics) -> Sequence[Metric]:
        try:
            async with asyncio.timeout(self._deadline):
                told = checked(await source.tell_metrics())
            self._told.pop(uri, None)
        except TimeoutError:
            return self._failed(uri, f"no answer within {self._deadline:g} s")
        except Exception as error:
            return self._failed(uri, error.message if isinstance(error, CortenError) else repr(error))
        return told

    def _failed(self, uri: str, text: str) -> Sequence[Metric]:
        self._failures.add(uri)
        if self._told.get(uri) != text:  # a scrape comes every few seconds
            self._told[uri] = text
            log.warning("metrics of plugin %s are left out: %s", uri, text)
        return ()

    def _states(self) -> Metric:
        states = Counter(str(view.state) for view in self._plugins.values())
        samples = [Sample(number, (state,)) for state, number in sorted(states.items())]
        return Metric("corten_plugins", "Plugins by state.", Kind.GAUGE, samples, ("state",))


def _build() -> Metric:
    sample = Sample(1, (CONTAINERD_VERSION, REVISION))
    text = "What is built into the daemon: the containerd release whose API it serves, and its own."
    return Metric("containerd_build_info_total", text, Kind.COUNTER, [sample], ("version", "revision"))


def checked(metrics: Sequence[Metric]) -> Sequence[Metric]:
    """The same. Raises Internal for what is no metric, or has a figure with more or fewer labels than names."""
    for metric in metrics:
        if not isinstance(metric, Metric):
            raise Internal(f"it told a {type(metric).__name__}, not a Metric")
        if any(len(sample.labels) != len(metric.labels) for sample in metric.samples):
            raise Internal(f"metric {metric.name}: a sample has not one value for each of {metric.labels}")
    return metrics


def merged(metrics: Sequence[Metric]) -> Sequence[Metric]:
    """One metric for each name; what contradicts the first of its name is left out."""
    found: dict[str, Metric] = {}
    for metric in metrics:
        first = found.setdefault(metric.name, metric)
        if first is metric:
            continue
        if (first.kind, first.labels) != (metric.kind, metric.labels):
            log.warning("metric %s is told with two kinds or sets of labels: the second is left out", metric.name)
            continue
        found[metric.name] = replace(first, samples=[*first.samples, *metric.samples])
    return list(found.values())
