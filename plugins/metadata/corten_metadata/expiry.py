"""Times in labels and config as containerd's clients write them, and the moment at which something expires next."""

import re
from collections.abc import Callable, Mapping
from datetime import datetime
from threading import Lock

from corten.errors import InvalidArgument
from corten.gc_expiry import EXPIRE

_UNITS = {"ns": 1, "us": 10**3, "µs": 10**3, "μs": 10**3, "ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9}
_PART = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|μs|ms|s|m|h)")


def rfc3339(text: str) -> int | None:
    """Nanoseconds since the epoch, or None for what is no time with a zone (RFC 3339, section 5.6)."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    if moment.tzinfo is None or "T" not in text.upper():
        return None
    return int(moment.timestamp()) * 10**9 + moment.microsecond * 1000


def duration(text: str) -> int:
    """Nanoseconds of a duration in Go's notation (`1h30m`, `100ms`, `0`). Raises InvalidArgument."""
    sign, digits = (-1, text[1:]) if text.startswith("-") else (1, text.removeprefix("+"))
    if digits == "0":
        return 0
    parts = list(_PART.finditer(digits))
    if not digits or "".join(part.group() for part in parts) != digits:
        raise InvalidArgument(f"duration {text[:64]!r}: write it like 100ms, 1.5s or 1h30m")
    return sign * int(sum(float(part.group(1)) * _UNITS[part.group(2)] for part in parts))


def expires_at(labels: Mapping[str, str]) -> int | None:
    """When an object with these labels expires (ns), or None for never."""
    return rfc3339(labels[EXPIRE]) if EXPIRE in labels else None


class Alarm:
    """The earliest expiry known; any thread may call."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._next: int | None = None
        self._listeners: list[Callable[[], None]] = []

    @property
    def next(self) -> int | None:
        """In nanoseconds since the epoch; None when nothing expires."""
        return self._next

    def note(self, moment: int | None) -> None:
        """Something expires then; who listens is told if nothing else does so earlier."""
        with self._lock:
            earlier = moment is not None and (self._next is None or moment < self._next)
            self._next = moment if earlier else self._next
        for listener in self._listeners if earlier else ():
            listener()

    def on_earlier(self, listener: Callable[[], None]) -> None:
        """Call `listener` when an expiry is noted that is earlier than those known; it must be quick."""
        self._listeners.append(listener)

    def clear(self) -> None:
        """Forget what was noted: a collection is about to look for itself."""
        with self._lock:
            self._next = None
