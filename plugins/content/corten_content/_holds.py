"""One holder per ref: who writes an ingest holds its ref until it is closed."""

import threading
import time

from corten.errors import ResourceExhausted, Unavailable


class Holds:
    """Refs that are held, with since when; any thread may call, and no call waits."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._lock = threading.Lock()
        self._since: dict[str, float] = {}

    def __repr__(self) -> str:
        return f"Holds({len(self._since)} of {self._limit})"

    def take(self, ref: str, *, limited: bool = True) -> None:
        """Raises Unavailable while the ref is held; when `limited`, ResourceExhausted if as many as may be are held."""
        now = time.monotonic()
        with self._lock:
            if (since := self._since.get(ref)) is not None:
                held = now - since
                raise Unavailable(
                    f"ingest {shown(ref)}: a writer has held it for {held:.1f} s (wait until it is closed)"
                )
            if limited and len(self._since) >= self._limit:
                raise ResourceExhausted(
                    f"ingest {shown(ref)}: {self._limit} writers are open (close some or raise max_open_writers)"
                )
            self._since[ref] = now

    def free(self, ref: str) -> None:
        """Harmless if it is not held."""
        with self._lock:
            self._since.pop(ref, None)


def shown(ref: str) -> str:
    """The ref as messages name it: quoted, and cut if it is long."""
    return repr(ref) if len(ref) <= _SHOWN else f"{ref[:_SHOWN]!r}…"


_SHOWN = 128
