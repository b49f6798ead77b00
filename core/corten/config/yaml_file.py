"""Reads Corten's own configuration files: YAML, with the line of each key, and duplicate keys refused."""

from __future__ import annotations

from typing import Any

import yaml

from corten.errors import InvalidArgument

from .document import Document, KeyPath, Origin, Problem, dotted

VERSION = 4
"""The version of a file that does not say."""

_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def read(text: str, source: str) -> Document:
    """Parse a file. Raises InvalidArgument with file and line for what is not YAML or not a mapping."""
    loader = _Loader(text)
    try:
        walk = _Walk(loader, source)
        node = loader.get_single_node()
        data = walk.value(node, ()) if node is not None else {}
    except yaml.MarkedYAMLError as error:
        last = len(text.splitlines())  # the parser counts a line more when it runs off the end
        line = min(error.problem_mark.line + 1, last) if error.problem_mark else 1
        raise InvalidArgument(f"configuration: {source}:{line}: not valid YAML: {error.problem}") from error
    except yaml.YAMLError as error:
        raise InvalidArgument(f"configuration: {source}: not valid YAML: {error}") from error
    finally:
        loader.dispose()
    data = {} if data is None else data
    if not isinstance(data, dict):
        raise InvalidArgument(f"configuration: {source}:1: must be keys with values, not {type(data).__name__}")
    version = data.get("version", VERSION)
    if type(version) is not int:
        walk.problems.append(Problem(Origin(source, walk.lines.get(("version",), 1)), "version must be a number"))
        version = VERSION
    return Document(source, data, walk.lines, version, True, walk.problems)


class _Walk:
    """Turns nodes into plain data, and notes lines and problems."""

    def __init__(self, loader: Any, source: str) -> None:
        self.lines: dict[KeyPath, int] = {}
        self.problems: list[Problem] = []
        self._loader = loader
        self._source = source
        self._open: list[int] = []

    def value(self, node: Any, path: KeyPath) -> Any:
        if id(node) in self._open:
            raise yaml.MarkedYAMLError(problem="an alias contains itself", problem_mark=node.start_mark)
        self._open.append(id(node))
        try:
            if isinstance(node, yaml.MappingNode):
                return self._mapping(node, path)
            if isinstance(node, yaml.SequenceNode):
                return [self.value(each, (*path, str(index))) for index, each in enumerate(node.value)]
            return self._loader.construct_object(node, deep=True)
        finally:
            self._open.pop()

    def _mapping(self, node: Any, path: KeyPath) -> dict[str, Any]:
        self._duplicates(node, path)
        self._loader.flatten_mapping(node)
        data = {}
        for key_node, value_node in node.value:
            key = self._loader.construct_object(key_node, deep=True)
            if not isinstance(key, str):
                self._note(key_node, f"key {key!r} must be text (put it in quotes)")
                continue
            below = (*path, key)
            self.lines[below] = key_node.start_mark.line + 1
            data[key] = self.value(value_node, below)
        return data

    def _duplicates(self, node: Any, path: KeyPath) -> None:
        seen: dict[str, int] = {}
        for key_node, _ in node.value:
            name = str(key_node.value)
            if name in seen:
                self._note(key_node, f"{dotted((*path, name))} stands here twice (first on line {seen[name]})")
            seen.setdefault(name, key_node.start_mark.line + 1)

    def _note(self, node: Any, text: str) -> None:
        self.problems.append(Problem(Origin(self._source, node.start_mark.line + 1), text))
