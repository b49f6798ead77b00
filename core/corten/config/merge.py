"""Merges documents into one tree that remembers for each value which file and line set it; pure.

A later document wins. Plugin sections are merged key by key, however deep, and lists are joined without duplicates;
entries of `timeouts`, `stream_processors` and `proxy_plugins` are replaced whole (as containerd does since 2.0).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from .document import Document, KeyPath, Origin

_REPLACED = ("timeouts", "stream_processors", "proxy_plugins")


@dataclass
class Merged:
    """The tree, and what set each leaf of it; a list may have several origins."""

    data: dict[str, Any] = field(default_factory=dict)
    origins: dict[KeyPath, tuple[Origin, ...]] = field(default_factory=dict)

    def set(self, path: KeyPath, value: object, origin: Origin) -> None:
        """Put one value in, over what is there."""
        section = self.data
        for part in path[:-1]:
            below = section.get(part)
            section = section.setdefault(part, {}) if isinstance(below, dict | None) else {}
        section[path[-1]] = value
        self.origins[path] = (origin,)

    def origin(self, path: KeyPath) -> Origin | None:
        """What set the value, or last set something in the section around it."""
        for length in range(len(path), 0, -1):
            if found := self.origins.get(path[:length]):
                return found[-1]
        return None


def merge(documents: Iterable[Document]) -> Merged:
    """All documents, each over those before it."""
    merged = Merged()
    for document in documents:
        _mapping(merged, merged.data, document.data, (), document)
    return merged


def _mapping(merged: Merged, into: dict[str, Any], new: Mapping[str, Any], path: KeyPath, document: Document) -> None:
    for key, value in new.items():
        below = (*path, key)
        origin = document.origin(below)
        old = into.get(key)
        if isinstance(value, Mapping):
            replaced = len(below) == 2 and below[0] in _REPLACED
            into[key] = old if isinstance(old, dict) and not replaced else {}
            merged.origins[below] = (origin,)
            _mapping(merged, into[key], value, below, document)
        elif isinstance(value, list) and isinstance(old, list):
            into[key] = [*old, *(each for each in value if each not in old)]
            merged.origins[below] = (*merged.origins.get(below, ()), origin)
        else:
            into[key] = list(value) if isinstance(value, list) else value
            merged.origins[below] = (origin,)
