"""What is told of a pull or an import while it goes on."""

from collections.abc import Callable
from enum import StrEnum

from corten.values import dataclass


class State(StrEnum):
    """Where a blob stands."""

    WAITING = "waiting"
    FETCHING = "fetching"
    DONE = "done"
    EXISTS = "exists"
    """It was in the store already."""


@dataclass(frozen=True, slots=True)
class Progress:
    """One blob: `offset` of `total` bytes are in the store; `kind` is index, manifest, config, layer or unknown."""

    digest: str
    kind: str
    offset: int
    total: int
    state: State


Show = Callable[[Progress], None]
"""Called on the event loop, often; must not block."""


def ignore(progress: Progress) -> None:
    """For callers who do not want to know."""
