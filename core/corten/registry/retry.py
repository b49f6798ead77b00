"""How often and after which pauses a request that failed for a passing reason is tried again."""

import random
from collections.abc import Iterator

from corten.values import dataclass


@dataclass(frozen=True, slots=True)
class Retry:
    """`attempts` in all; pauses double from `first` to at most `most` seconds, each shortened at random."""

    attempts: int = 6
    first: float = 0.25
    most: float = 8.0

    def pauses(self) -> Iterator[float]:
        """The seconds to wait after each failed attempt but the last."""
        for number in range(self.attempts - 1):
            yield random.uniform(0.5, 1) * min(self.first * 2**number, self.most)
