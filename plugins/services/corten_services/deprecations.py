"""The deprecation warnings that introspection shows: each with when it last happened, and logged once."""

import logging
import time
from collections.abc import Sequence
from threading import Lock

from corten.contracts.warnings import Deprecation

log = logging.getLogger(__name__)


class Deprecations:
    """Fulfils `Warnings`; kept in memory, so that a daemon's start begins a new list."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._seen: dict[str, Deprecation] = {}

    def __repr__(self) -> str:
        return f"Deprecations({', '.join(sorted(self._seen))})"

    def emit(self, id: str, message: str) -> None:
        with self._lock:
            first = id not in self._seen
            self._seen[id] = Deprecation(id, message, time.time_ns())
        if first:
            log.warning("deprecated: %s (%s)", message, id)

    def warnings(self) -> Sequence[Deprecation]:
        with self._lock:
            return [self._seen[id] for id in sorted(self._seen)]
