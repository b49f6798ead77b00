"""Reads containerd's configuration files: TOML, with the line of each key (which tomllib does not give)."""

from __future__ import annotations

import re
import tomllib
from typing import Any

from corten.errors import InvalidArgument

from .document import Document, KeyPath, Origin, Problem

VERSION = 1
"""The version of a file that does not say (containerd: man containerd-config.toml)."""

_PART = r"""(?:"(?:[^"\\]|\\.)*"|'[^']*'|[A-Za-z0-9_-]+)"""
_KEY = rf"{_PART}(?:\s*\.\s*{_PART})*"
_HEADER = re.compile(rf"^\s*(\[\[?)\s*({_KEY})\s*\]")
_ASSIGNMENT = re.compile(rf"^\s*({_KEY})\s*=")
_DELIMITERS = ('"""', "'''")


def read(text: str, source: str) -> Document:
    """Parse a file. Raises InvalidArgument with file and line for what is not TOML (a duplicate key among it)."""
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        line = re.search(r"at line (\d+)", str(error))
        where = f"{source}:{line[1] if line else len(text.splitlines())}"
        raise InvalidArgument(f"configuration: {where}: not valid TOML: {error}") from error
    problems: list[Problem] = []
    lines = key_lines(text)
    version = data.get("version", VERSION)
    if type(version) is not int:
        problems.append(Problem(Origin(source, lines.get(("version",), 1)), "version must be a number"))
        version = VERSION
    return Document(source, data, lines, version or VERSION, False, problems)


def key_lines(text: str) -> dict[KeyPath, int]:
    """The line of each table header and key of a valid file; keys inside inline tables have that of the table."""
    lines: dict[KeyPath, int] = {}
    table: KeyPath = ()
    inside: str | None = None
    for number, line in enumerate(text.splitlines(), 1):
        if inside is None:
            if header := _HEADER.match(line):
                table = _path(header[2])
                _note(lines, table, number)
            elif assignment := _ASSIGNMENT.match(line):
                _note(lines, (*table, *_path(assignment[1])), number)
        inside = _multiline(line, inside)
    return lines


def _note(lines: dict[KeyPath, int], path: KeyPath, number: int) -> None:
    for length in range(1, len(path) + 1):
        lines.setdefault(path[:length], number)


def _path(written: str) -> KeyPath:
    parsed: Any = tomllib.loads(f"{written} = 0")
    path: list[str] = []
    while isinstance(parsed, dict):
        name, parsed = next(iter(parsed.items()))
        path.append(name)
    return tuple(path)


def _multiline(line: str, inside: str | None) -> str | None:
    """The delimiter of the multi-line string that is open after this line, if any."""
    while True:
        if inside is not None:
            _, closed, line = line.partition(inside)
            if not closed:
                return inside
            inside = None
        starts = [(line.find(each), each) for each in _DELIMITERS if each in line]
        if not starts:
            return None
        position, inside = min(starts)
        line = line[position + 3 :]
