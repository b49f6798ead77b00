"""Contract of the garbage collector: what clients and services may ask of it."""

from typing import Protocol

from corten.values import dataclass


@dataclass(frozen=True, slots=True)
class GcStats:
    """One collection: how long it took (seconds) and how many resources of each kind it removed."""

    elapsed: float
    removed: int


class Collector(Protocol):
    """The scheduler (`io.containerd.gc.v1.scheduler`)."""

    def schedule_and_wait(self) -> GcStats:
        """Run a collection that begins after this call, and return its outcome. Blocks; any thread but the loop's."""
        ...
