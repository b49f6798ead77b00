"""Durations and sizes as people write them: `1m30s`, `100ms`, `16MiB`.

A config model marks such fields by their type: `delay: Duration = 0.5` is seconds in code and may be written as text;
`limit: Size = 16 << 20` is bytes.
"""

from __future__ import annotations

import re
from typing import Annotated


class Unit(str):
    """Marks a field of a config model with what its number counts."""


SECONDS = Unit("seconds")
BYTES = Unit("bytes")
Duration = Annotated[float, SECONDS]
Size = Annotated[int, BYTES]

_DURATION = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|ms|s|m|h)")
_FACTORS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_SIZE = re.compile(r"(\d+)\s*(?:([KMGT])(i?)B?|B)?")


def seconds(text: str) -> float:
    """A duration in Go's notation (https://pkg.go.dev/time#ParseDuration). Raises ValueError."""
    sign, rest = (-1.0, text[1:]) if text.startswith("-") else (1.0, text.removeprefix("+"))
    if rest == "0":
        return 0.0
    parts = _DURATION.findall(rest)
    if not rest or "".join(number + unit for number, unit in parts) != rest:
        raise ValueError(f'{text!r} is not a duration such as "1m30s" or "100ms"')
    return sign * sum(float(number) * _FACTORS[unit] for number, unit in parts)


def written(duration: float) -> str:
    """The shortest text that `seconds` reads back as that duration."""
    for unit in ("h", "m", "s", "ms", "us"):
        count = duration / _FACTORS[unit]
        if duration and abs(count - round(count)) < 1e-9 and round(count):
            return f"{round(count)}{unit}"
    return f"{duration:g}s"


def size(text: str) -> int:
    """Bytes: `4096`, `16MiB` (1024²) or `16MB` (1000²). Raises ValueError."""
    match = _SIZE.fullmatch(text.strip())
    if not match:
        raise ValueError(f'{text!r} is not a size such as "16MiB"')
    number, letter, binary = match.groups()
    power = "KMGT".index(letter) + 1 if letter else 0
    return int(number) * int((1024 if binary else 1000) ** power)
