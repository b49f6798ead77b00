"""Pauses between restarts of what ends again and again; pure, the time is given."""

from dataclasses import dataclass, field

STEADY = 10.0
"""Seconds that a run must last for its end to count as the first one again."""
Key = tuple[str, str]


@dataclass(slots=True)
class _Attempt:
    at: float
    pause: float


@dataclass(slots=True)
class Backoff:
    """`first` and `longest` in seconds: the pause doubles with each run that did not last."""

    first: float
    longest: float
    _attempts: dict[Key, _Attempt] = field(default_factory=dict)

    def due(self, key: Key, now: float, lasted: float | None = None) -> bool:
        """Whether it may be started now; a run that `lasted` long enough is forgiven all before it."""
        last = self._attempts.get(key)
        if last is None or (lasted is not None and lasted >= max(STEADY, last.pause)):
            self._attempts.pop(key, None)
            return True
        return now >= last.at + last.pause

    def started(self, key: Key, now: float) -> None:
        """It is started now, or that was tried."""
        last = self._attempts.get(key)
        pause = min(self.longest, last.pause * 2) if last else self.first
        self._attempts[key] = _Attempt(now, max(self.first, pause))

    def since(self, key: Key) -> float | None:
        """When it was last started here."""
        last = self._attempts.get(key)
        return last.at if last else None

    def keep(self, keys: set[Key]) -> None:
        """Forget all others."""
        self._attempts = {key: attempt for key, attempt in self._attempts.items() if key in keys}
