"""Contract of the deprecation warnings that introspection shows."""

from collections.abc import Sequence
from typing import Protocol

from corten.values import dataclass


@dataclass(frozen=True, slots=True)
class Deprecation:
    """Use of something deprecated; `last_occurrence` in nanoseconds since the epoch."""

    id: str
    message: str
    last_occurrence: int


class Warnings(Protocol):
    """Any thread may call."""

    def emit(self, id: str, message: str) -> None: ...
    def warnings(self) -> Sequence[Deprecation]: ...
