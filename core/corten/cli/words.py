"""Quantities in words and words in quantities: sizes, ages, signals, key=value pairs, mounts."""

import re
import signal
import time
from collections.abc import Iterable

from corten.errors import InvalidArgument
from corten.oci.options import SpecMount

_UNITS = {"": 1, "b": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([bkmgt]?)(?:i?b)?", re.ASCII | re.IGNORECASE)
_LAST_SIGNAL = 64
_STEPS = ((60, "second"), (60, "minute"), (24, "hour"), (365, "day"))


def size(text: str) -> int:
    """`512m`, `1.5GiB`, `4096` in bytes; powers of 1024. Raises InvalidArgument."""
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise InvalidArgument(f"size {text!r}: write a number with one of b, k, m, g, t behind it, e.g. 512m")
    return int(float(match[1]) * _UNITS[match[2].lower()])


def shown_size(number: float) -> str:
    """`1.5 GiB`."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if number < 1024:
            return f"{number:.0f} {unit}" if unit == "B" else f"{number:.1f} {unit}"
        number /= 1024
    return f"{number:.1f} TiB"


def age(nanoseconds: int, now: float | None = None) -> str:
    """`3 minutes ago`; a dash for an unknown time."""
    if not nanoseconds:
        return "-"
    return f"{span((time.time() if now is None else now) - nanoseconds / 1e9)} ago"


def span(seconds: float) -> str:
    """`3 minutes`."""
    amount = max(0.0, seconds)
    for step, word in _STEPS:
        if amount < step:
            return f"{amount:.0f} {word}{'' if round(amount) == 1 else 's'}"
        amount /= step
    return f"{amount:.1f} years"


def signal_number(text: str) -> int:
    """`9`, `KILL`, `SIGKILL`, `sigkill`, `RTMIN+3`. Raises InvalidArgument."""
    if text.isascii() and text.isdigit() and 0 < int(text) <= _LAST_SIGNAL:
        return int(text)
    name, _, offset = text.upper().removeprefix("SIG").partition("+")
    try:
        return int(signal.Signals[f"SIG{name}"]) + (_real_time(name, offset) if offset else 0)
    except (KeyError, ValueError):
        raise InvalidArgument(f"signal {text!r}: there is no such signal (e.g. TERM, KILL, HUP, or a number)") from None


def _real_time(name: str, offset: str) -> int:
    """Images made for systemd stop by SIGRTMIN+3 (signal(7): real-time signals are counted from the first)."""
    if name != "RTMIN" or not 0 <= int(offset) <= _LAST_SIGNAL - int(signal.Signals["SIGRTMIN"]):
        raise ValueError(offset)
    return int(offset)


def pairs(texts: Iterable[str], what: str) -> dict[str, str]:
    """`KEY=value` each; a bare `KEY` has an empty value. Raises InvalidArgument."""
    found = {}
    for text in texts:
        key, _, value = text.partition("=")
        if not key:
            raise InvalidArgument(f"{what} {text!r}: write it as KEY=value")
        found[key] = value
    return found


def mount(text: str) -> SpecMount:
    """`type=bind,src=/host,dst=/inside,options=rbind:ro`, as ctr has it; `readonly` may stand alone.

    Raises InvalidArgument.
    """
    fields = dict(part.partition("=")[::2] for part in text.split(","))
    source = fields.pop("src", fields.pop("source", ""))
    destination = fields.pop("dst", fields.pop("destination", fields.pop("target", "")))
    kind = fields.pop("type", "bind")
    options = [word for word in fields.pop("options", "").split(":") if word]
    read_only = [fields.pop(word) for word in ("readonly", "ro") if fields.get(word) == ""]
    if fields or not destination:
        wrong = f"{next(iter(fields))!r} means nothing here" if fields else "dst is missing"
        raise InvalidArgument(f"mount {text!r}: {wrong} (e.g. type=bind,src=/data,dst=/data,options=rbind:ro)")
    if kind == "bind" and not {"bind", "rbind"} & set(options):
        options.insert(0, "rbind")
    if read_only and "ro" not in options:
        options.append("ro")
    return SpecMount(destination, source or kind, kind, tuple(options))
