"""How often NRI plugins were asked, how it went and how long it took, under containerd's names."""

import re
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from corten.contracts.metrics import Kind, Metric, Sample
from corten.errors import CortenError
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

        self._wanted = Tally(
            "containerd_nri_plugin_adjustments_total",
            "Updates and evictions of containers that NRI plugins asked for.",
            ("plugin", "operation", "type"),
        )

    @contextmanager
    def call(self, plugin: str, operation: str) -> Iterator[None]:
        """Around one call; what it raises goes on."""
        began = time.monotonic()
        status, error = "error", "canceled"
        try:
            yield
            status, error = "success", ""
        except Exception as raised:
            error = _word(raised)
            raise
        finally:
            self._calls.add(plugin, operation, status, error)
            self._times.note(time.monotonic() - began, plugin, operation)

    def wanted(self, plugin: str, operation: str, updates: int, evictions: int) -> None:
        """What a plugin's answer, or request, asks for."""
        for kind, count in (("update", updates), ("evict", evictions)):
            if count:
                self._wanted.add(plugin, operation, kind, by=count)

    def metrics(self, connected: int) -> Sequence[Metric]:
        """With the number of plugins that are connected."""
        active = Metric(
            "containerd_nri_active_plugins_total", "NRI plugins that are connected.", Kind.GAUGE, [Sample(connected)]
        )
        return [active, self._calls.metric(), self._times.metric(), self._wanted.metric()]


def _word(error: Exception) -> str:
    """The gRPC status of an error as containerd's label has it (`deadline_exceeded`)."""
    if not isinstance(error, CortenError):
        return "other"
    name = type(error).__name__.replace("Cancelled", "Canceled")
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()
