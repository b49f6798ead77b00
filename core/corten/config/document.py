"""A configuration file as read: plain data, and the line on which each key stands."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import field
from typing import Any

from corten.errors import InvalidArgument
from corten.values import dataclass

KeyPath = tuple[str, ...]
"""From the top of the file, e.g. `("plugins", "io.containerd.gc.v1.scheduler", "pause_threshold")`."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a value came from: a file and a line, or something else with line 0 (`command line`, `default`)."""

    source: str
    line: int = 0

    def __str__(self) -> str:
        return f"{self.source}:{self.line}" if self.line else self.source


@dataclass(frozen=True, slots=True)
class Problem:
    """Something wrong with a configuration. A warning does not keep the daemon from starting."""

    origin: Origin
    text: str
    warning: bool = False

    def __str__(self) -> str:
        return f"{self.origin}: {self.text}"


@dataclass(frozen=True, slots=True)
class Document:
    """One file. `strict`: what nobody knows is an error, not a warning."""

    source: str
    data: Mapping[str, Any]
    lines: Mapping[KeyPath, int]
    version: int
    strict: bool
    problems: Sequence[Problem] = field(default=())

    def origin(self, path: KeyPath) -> Origin:
        """Where a key stands, or the nearest section around it."""
        for length in range(len(path), 0, -1):
            if line := self.lines.get(path[:length]):
                return Origin(self.source, line)
        return Origin(self.source, 1)


def dotted(path: KeyPath) -> str:
    """The path as one writes it: parts with a dot are quoted."""
    return ".".join(f'"{part}"' if "." in part else part for part in path)


def nearest(name: str, known: Iterable[str], likeness: float = 0.6) -> str:
    """` (did you mean X?)` for the known name most like `name`; empty if none is that like it (1: the same)."""
    from difflib import get_close_matches  # only for those who make a mistake: it costs the start 5 ms

    close = get_close_matches(name, list(known), n=1, cutoff=likeness)
    return f" (did you mean {close[0]}?)" if close else ""


def refuse(problems: Iterable[Problem]) -> None:
    """Raise InvalidArgument with all errors among the problems, a line each; nothing if there are only warnings."""
    errors = [str(each) for each in problems if not each.warning]
    if errors:
        raise InvalidArgument("configuration: " + "\n  ".join(errors))
