"""Answers for `cortend config`: the whole configuration as YAML, and where one value comes from; pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from corten.errors import NotFound

from .document import KeyPath, dotted, nearest
from .load import DEFAULT, Config


def as_yaml(tree: Mapping[str, Any]) -> str:
    """A tree as text, keys in their order."""
    import yaml

    return yaml.safe_dump(dict(tree), sort_keys=False, allow_unicode=True, width=120)


def explain(config: Config, key: str) -> Iterator[str]:
    """For a key, or each key of a section: `key: value  (where from)`. Raises NotFound, with the nearest key."""
    tree = config.effective()
    path = locate(tree, key)
    for leaf, value in _leaves(_at(tree, path), path):
        yield f"{dotted(leaf)}: {_shown(value)}  ({_where(config, leaf)})"


def locate(tree: Mapping[str, Any], key: str) -> KeyPath:
    """The path that a dotted key means; a part with dots in it may be quoted, but need not be. Raises NotFound."""
    parts = [quoted or plain for quoted, plain in re.findall(r'"([^"]*)"|([^."]+)', key)]
    path: list[str] = []
    section: Any = tree
    while parts:
        name = _longest(section, parts)
        if name is None and not path and (name := _longest(tree.get("plugins"), parts)):
            section, path = tree["plugins"], ["plugins"]  # a plugin's URI by itself
        if name is None:
            known = [*section, *(() if path else tree.get("plugins", ()))] if isinstance(section, Mapping) else ()
            raise NotFound(f"configuration: there is no key {key}{nearest('.'.join(parts), known)}")
        parts = parts[_count(name, parts) :]
        path.append(name)
        section = section[name]
    return tuple(path)


def _longest(section: Any, parts: list[str]) -> str | None:
    if not isinstance(section, Mapping):
        return None
    found = [".".join(parts[:length]) for length in range(len(parts), 0, -1)]
    return next((name for name in found if name in section), None)


def _count(name: str, parts: list[str]) -> int:
    return next(length for length in range(len(parts), 0, -1) if ".".join(parts[:length]) == name)


def _at(tree: Any, path: KeyPath) -> Any:
    for part in path:
        tree = tree[part]
    return tree


def _leaves(value: Any, path: KeyPath) -> Iterator[tuple[KeyPath, Any]]:
    if isinstance(value, Mapping) and value:
        for key, below in value.items():
            yield from _leaves(below, (*path, key))
    else:
        yield path, value


def _shown(value: Any) -> str:
    import json

    return value if isinstance(value, str) and value else json.dumps(value, ensure_ascii=False, default=str)


def _where(config: Config, path: KeyPath) -> str:
    origins = config.merged.origins.get(path)
    return ", ".join(map(str, origins)) if origins else str(DEFAULT)
