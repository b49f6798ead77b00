"""How often NRI plugins were asked, how it went and how long it took, under containerd's names."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from corten.contracts.metrics import Kind, Metric, Sample
from corten.tallies import Tally, Timings


class Figures:
    """Used on the event loop."""

    def __init__(self) -> None:
        self._calls = Tally(
            "containerd_nri_plugin_invocations_total",
            "Calls of NRI plugins by how they ended.",
            ("plugin", "operation", "status", "error"),
        )
        self._times = Timings(
            "containerd_nri_plugin_latency_seconds", "How long NRI plugins took to answer.", ("plugin", "operation")
        )

    @contextmanager
    def call(self, plugin: str, operation: str) -> Iterator[None]:
        """Around one call; what it raises goes on."""
        began = time.monotonic()
        status, error = "failure", ""
        try:
            yield
            status = "success"
        except Exception as raised:
            error = type(raised).__name__
            raise
        finally:
            self._calls.add(plugin, operation, status, error)
            self._times.note(time.monotonic() - began, plugin, operation)

    def metrics(self, connected: int) -> Sequence[Metric]:
        """With the number of plugins that are connected."""
        active = Metric(
            "containerd_nri_active_plugins_total", "NRI plugins that are connected.", Kind.GAUGE, [Sample(connected)]
        )
        return [active, self._calls.metric(), self._times.metric()]
