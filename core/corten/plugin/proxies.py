"""Entries of `proxy_plugins` as plugins: a registration for each, which comes in by the same door as all others."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial

from corten.config.settings import ProxyPlugin

from .loader import checked
from .model import PluginContext, Registration
from .record import Found
from .types import CONTENT, DIFFER, SNAPSHOTTER, PluginType

SOURCE = "proxy_plugins"
"""What stands in the place of a distribution."""
KINDS: Mapping[str, PluginType[object]] = {"snapshot": SNAPSHOTTER, "diff": DIFFER, "content": CONTENT}
"""The words of the key `type` that this version knows; the plugin's type in full will do as well."""
_WORDS: Mapping[str, str] = {**{word: word for word in KINDS}, **{type.uri: word for word, type in KINDS.items()}}


def proxies(entries: Mapping[str, ProxyPlugin]) -> Iterator[Found]:
    """A plugin for each entry of a known type. Raises InvalidArgument for an id that is none."""
    for id, entry in entries.items():
        if entry.type in _WORDS:
            (registration,) = checked(_registration(id, entry))
            yield Found(registration, SOURCE, builtin=False)


def _registration(id: str, entry: ProxyPlugin) -> Registration:
    word = _WORDS[entry.type]
    return Registration(
        type=KINDS[word],
        id=id,
        init=partial(_MAKERS[word], id, entry.address),
        platforms=(entry.platform,) if entry.platform else (),
        capabilities=entry.capabilities,
        exports={**entry.exports, "address": entry.address},
        summary=f"A {word} plugin in a process of its own at {entry.address}.",
    )


def _snapshotter(id: str, address: str, context: PluginContext) -> object:
    from corten.client.proxy import ProxySnapshotter

    return ProxySnapshotter(address, id)


def _differ(id: str, address: str, context: PluginContext) -> object:
    from corten.client.proxy import ProxyDiffer

    return ProxyDiffer(address, id)


def _content(id: str, address: str, context: PluginContext) -> object:
    from corten.client.proxy_content import ProxyContent

    return ProxyContent(address, id)


_MAKERS: Mapping[str, Callable[[str, str, PluginContext], object]] = {
    "snapshot": _snapshotter,
    "diff": _differ,
    "content": _content,
}
