"""Finds and reads the files of a configuration: the one named, and what they import."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from glob import glob

from corten.errors import InvalidArgument, NotFound, mapped

from .document import Document
from .settings import DEFAULT_FILE, DEFAULT_IMPORTS


def read_all(path: str | None = None) -> list[Document]:
    """The documents in the order in which they are merged, each file once.

    Without a path it is the default file, which may be absent, and unless that says `imports`, the default drop-ins.
    Raises NotFound for a named file that is absent, InvalidArgument for one that cannot be parsed.
    """
    seen: set[str] = set()
    start = [path] if path is not None else list(_default_files())
    documents: list[Document] = []
    while start:
        file = os.path.realpath(start.pop(0))
        if file not in seen:
            seen.add(file)
            documents.append(read(file))
            start += resolve(documents[-1])
    return documents


def read(path: str) -> Document:
    """One file: TOML or YAML by its suffix, or by its content. Raises NotFound, InvalidArgument, PermissionDenied."""
    with mapped(f"configuration file {path}: cannot be read"), open(path, "rb") as file:
        raw = file.read()
    try:
        text = raw.decode()
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise InvalidArgument(f"configuration: {path}:{line}: is not UTF-8 text") from error
    if _is_toml(path, text):
        from . import toml_file

        return toml_file.read(text, path)
    from . import yaml_file

    return yaml_file.read(text, path)


def resolve(document: Document) -> list[str]:
    """The files that a document imports. Raises NotFound for one without a pattern that is not there."""
    imports = document.data.get("imports", ())
    found: list[str] = []
    for pattern in imports if isinstance(imports, list) else ():
        path = os.path.join(os.path.dirname(document.source), str(pattern))
        files = sorted(glob(path))
        if not files and not _is_pattern(path):
            raise NotFound(f"{document.origin(('imports',))}: imported file {path} does not exist")
        found += files
    return found


def _default_files() -> Iterator[str]:
    if not os.path.exists(DEFAULT_FILE):
        yield from _drop_ins(DEFAULT_IMPORTS)
        return
    yield DEFAULT_FILE
    if "imports" not in read(DEFAULT_FILE).data:
        yield from _drop_ins(DEFAULT_IMPORTS)


def _drop_ins(patterns: Iterable[str]) -> list[str]:
    return [file for pattern in patterns for file in sorted(glob(pattern))]


def _is_pattern(path: str) -> bool:
    return any(each in path for each in "*?[")


def _is_toml(path: str, text: str) -> bool:
    """By suffix, else by content. A `.toml` that is YAML is taken as such: `cortend config default > config.toml`."""
    if path.endswith((".yaml", ".yml")):
        return False
    import tomllib

    try:
        return bool(tomllib.loads(text)) or path.endswith(".toml")
    except tomllib.TOMLDecodeError:
        return path.endswith(".toml") and not text.startswith(_DEFAULT_HEAD)


_DEFAULT_HEAD = "version: "
