"""How long the kubelet's calls and the network plugins take, under the names that dashboards for containerd look for.

Calls that fail are not timed, as in containerd; those of network plugins are, and counted too. Names that repeat their
unit (`_total_total`) are containerd's.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from corten.contracts.metrics import Metric
from corten.tallies import Tally, Timings

SET_UP, TEAR_DOWN, STATUS = "set_up_pod", "tear_down_pod", "get_pod_network_status"
"""Operations of network plugins."""

_PREFIX = "containerd_cri_"
_PLAIN = {
    "sandbox_list": "Time to list pods.",
    "stream_sandbox_list": "Time to list pods in pages.",
    "sandbox_create_network": "Time to attach a pod to its networks.",
    "sandbox_delete_network": "Time to detach a pod from its networks.",
    "container_list": "Time to list containers.",
    "stream_container_list": "Time to list containers in pages.",
}
_BY_RUNTIME = {
    "sandbox_runtime_create": "Time to make a pod.",
    "sandbox_runtime_stop": "Time to end all that runs in a pod.",
    "sandbox_remove": "Time to remove a pod.",
    "container_create": "Time to create a container.",
    "container_start": "Time to start a container.",
    "container_stop": "Time to stop a container.",
    "container_remove": "Time to remove a container.",
    "container_checkpoint": "Time to checkpoint a container.",
}


class Timers:
    """Used on the event loop."""

    def __init__(self) -> None:
        self._calls = {
            **{name: Timings(f"{_PREFIX}{name}_seconds", help) for name, help in _PLAIN.items()},
            **{name: Timings(f"{_PREFIX}{name}_seconds", help, ("runtime",)) for name, help in _BY_RUNTIME.items()},
        }
        plugins, label = f"{_PREFIX}network_plugin_operations", ("operation_type",)
        self._network = Tally(f"{plugins}_total_total", "Operations of network plugins.", label)
        self._failed = Tally(f"{plugins}_errors_total_total", "Operations of network plugins that failed.", label)
        self._took = Timings(
            f"{plugins}_duration_seconds_seconds", "How long operations of network plugins took.", label
        )

        self.dropped = Tally(
            f"{_PREFIX}container_events_dropped_total", "Events of containers that nobody was told of."
        )
        self.dropped.add(by=0)

    @contextmanager
    def call(self, name: str, *runtime: str) -> Iterator[None]:
        """Around a call that is known by `name`, without the prefix; counts if nothing is raised."""
        began = time.monotonic()
        yield
        self._calls[name].note(time.monotonic() - began, *runtime)

    @contextmanager
    def network(self, operation: str) -> Iterator[None]:
        """Around one of the operations above."""
        began = time.monotonic()
        try:
            yield
        except BaseException:
            self._failed.add(operation)
            raise
        finally:
            self._network.add(operation)
            self._took.note(time.monotonic() - began, operation)

    def metrics(self) -> Sequence[Metric]:
        kept: tuple[Tally | Timings, ...] = (
            *self._calls.values(), self._network, self._failed, self._took, self.dropped,
        )  # fmt: skip
        return [each.metric() for each in kept]
