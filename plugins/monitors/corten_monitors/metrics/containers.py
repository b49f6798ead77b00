"""Figures of the cgroups of all containers, under containerd's names (`container_memory_usage_usage_bytes` …)."""

import asyncio
import logging
from collections.abc import Iterable, Sequence

from corten.contracts.metadata import Metadata
from corten.contracts.metrics import Kind, Metric, Sample
from corten.contracts.runtime import Runtime, Task
from corten.errors import CortenError, NotFound
from corten.pools import Pools

from .figures import Figure

log = logging.getLogger(__name__)

DEADLINE = 2.0
"""Seconds that one shim has, as with containerd; the figures of one that hangs are missing, not those of the others."""
AT_ONCE = 16
"""Shims asked side by side."""
LABELS = ("container_id", "namespace")


class ContainerMetrics:
    """Fulfils `TellsMetrics`; nothing is kept between two questions."""

    def __init__(self, metadata: Metadata, runtime: Runtime, pools: Pools, *, off: bool = False) -> None:
        self._metadata, self._runtime, self._pools = metadata, runtime, pools
        self._off = off
        self._bound = asyncio.Semaphore(AT_ONCE)

    def __repr__(self) -> str:
        return f"ContainerMetrics({'off' if self._off else 'on'})"

    async def tell_metrics(self) -> Sequence[Metric]:
        if self._off:
            return ()
        names = await self._pools.run("metadata", self._metadata.namespaces.list)
        tasks = [task for each in names for task in await self._runtime.list(each.name)]
        told = await asyncio.gather(*(self._of(task) for task in tasks))
        return _gathered(figure for each in told for figure in each)

    async def _of(self, task: Task) -> list[tuple[Figure, Sample]]:
        try:
            async with self._bound, asyncio.timeout(DEADLINE):
                stats = await task.stats()
        except NotFound:
            return []  # it ended between the list and the question
        except (CortenError, TimeoutError) as error:
            log.debug("metrics of container %s/%s are left out: %r", task.namespace, task.id, error)
            return []
        from .reading import figures  # the messages of cgroups, for which nobody may ever ask

        own = (task.id, task.namespace)
        found = figures(stats.type_url, stats.value)
        return [(figure, Sample(value, (*own, *labels))) for figure, labels, value in found]


def _gathered(found: Iterable[tuple[Figure, Sample]]) -> Sequence[Metric]:
    samples: dict[Figure, list[Sample]] = {}
    for figure, sample in found:
        samples.setdefault(figure, []).append(sample)
    return [
        Metric(f"container_{figure.name}", figure.help, Kind.GAUGE, each, (*LABELS, *figure.labels))
        for figure, each in samples.items()
    ]
