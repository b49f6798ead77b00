"""When to collect: containerd's rules for its collector, as a pure state; times are seconds of one steady clock.

The first collection comes `startup_delay` after the start. A request, or `deletion_threshold` deletions, brings one
after `schedule_delay`. A single deletion, or `mutation_threshold` updates, bring one too, but only so long after the
last that collections take no more than `pause_threshold` of the time on average.
"""

from corten.values import dataclass

MINIMUM = 0.005
"""Seconds that a collection counts for at least, lest quick ones follow each other without pause."""
HIGHEST_SHARE = 0.5


@dataclass(frozen=True, slots=True)
class Rules:
    """The thresholds; 0 turns each off. Delays are in seconds."""

    pause_threshold: float = 0.02
    deletion_threshold: int = 0
    mutation_threshold: int = 100
    schedule_delay: float = 0.0
    startup_delay: float = 0.1


class Pacing:
    """Told of what happens; `due_at` answers."""

    def __init__(self, rules: Rules, now: float) -> None:
        self._rules = rules
        self._earliest = now + rules.startup_delay
        self._forced: float | None = self._earliest if rules.startup_delay > 0 else None
        self._deletions = 0
        self._mutations = 0
        self._spent = 0.0
        self._collections = 0

    def __repr__(self) -> str:
        return f"Pacing(due_at={self.due_at()}, deletions={self._deletions}, mutations={self._mutations})"

    def due_at(self) -> float | None:
        """When the next collection is due, or None while nothing asks for one."""
        rules = self._rules
        wanted = self._deletions > 0 or 0 < rules.mutation_threshold <= self._mutations
        moments = [self._forced] if self._forced is not None else []
        moments += [self._earliest] if wanted else []
        return min(moments, default=None)

    def requested(self, now: float) -> None:
        """Somebody waits for a collection, or something expires."""
        self._force(now)

    def updated(self, now: float, removes: bool) -> None:
        """The store was changed."""
        self._mutations += 1
        self._deletions += removes
        if 0 < self._rules.deletion_threshold <= self._deletions:
            self._force(now)

    def collecting(self) -> None:
        """A collection begins: what happens from now on is for the next one."""
        self._forced = None
        self._deletions = self._mutations = 0

    def collected(self, now: float, elapsed: float) -> None:
        """It ended well; `elapsed` is what counts as pause."""
        self._spent += elapsed
        self._collections += 1
        self._earliest = now + self._interval()

    def failed(self, now: float) -> None:
        """It did not: try again after the usual interval and a second."""
        self._earliest = now + self._interval() + 1.0
        self._force(self._earliest)

    def _force(self, now: float) -> None:
        moment = now + self._rules.schedule_delay
        self._forced = moment if self._forced is None else min(self._forced, moment)

    def _interval(self) -> float:
        share = min(self._rules.pause_threshold, HIGHEST_SHARE)
        if share <= 0 or not self._collections:
            return 1.0
        average = max(self._spent / self._collections, MINIMUM)
        return average / share - average
