"""Draws the plugin graph as SVG, DOT or Mermaid text, from plugin views; pure.

Plugins stand in columns by how much must be up before them; an arrow points to what is required.

    python -m corten.plugin.drawing > docs/plugins.svg      # the built-in plugins as they are planned by default
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from html import escape

from corten.values import dataclass

from .graph import Plan
from .model import PluginView, State

_COLOURS = {
    State.OK: "#d7f0d7", State.SKIPPED: "#eeeeee", State.DISABLED: "#eeeeee", State.ERROR: "#f7d4d4",
    State.PENDING: "#ffffff",
}  # fmt: skip
_ARROW_HEAD = (
    '<defs><marker id="head" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
    '<path d="M0,0 L8,4 L0,8 z" fill="#888"/></marker></defs>'
)
_WIDTH, _HEIGHT, _GAP_X, _GAP_Y, _MARGIN = 250, 34, 90, 10, 20


@dataclass(frozen=True, slots=True)
class Drawn:
    """A plugin to draw: its URI, its state, and the URIs it uses."""

    uri: str
    state: State
    uses: tuple[str, ...]


def drawn(plugins: Iterable[PluginView]) -> list[Drawn]:
    """What the plugins' requirements resolved to."""
    return [
        Drawn(each.registration.uri, each.state, tuple(u for uris in each.requires_resolved.values() for u in uris))
        for each in plugins
    ]


def planned(plan: Plan) -> list[Drawn]:
    """A plan that nobody has carried out yet, as if all went well."""
    return [Drawn(uri, State.OK, plan.nodes[uri].after) for uri in plan.order]


def columns(plugins: Sequence[Drawn]) -> list[list[Drawn]]:
    """The plugins by depth: all that one uses stands to its left. What goes in a circle is left where it is met."""
    known = {each.uri: each for each in plugins}
    depth: dict[str, int] = {}

    def deep(uri: str, above: frozenset[str]) -> int:
        if uri not in depth:
            below = [
                deep(each, above | {uri}) for each in known[uri].uses if each in known and each not in above | {uri}
            ]
            depth[uri] = 1 + max(below, default=-1)
        return depth[uri]

    for each in plugins:
        deep(each.uri, frozenset())
    count = max(depth.values(), default=-1) + 1
    return [[each for each in plugins if depth[each.uri] == level] for level in range(count)]


def dot(plugins: Sequence[Drawn]) -> str:
    """The language of Graphviz."""
    lines = ["digraph corten {", "  rankdir=RL; node [shape=box, style=filled];"]
    lines += [f'  "{each.uri}" [fillcolor="{_COLOURS[each.state]}"];' for each in plugins]
    lines += [f'  "{user}" -> "{needed}";' for user, needed in _edges(plugins)]
    return "\n".join([*lines, "}", ""])


def mermaid(plugins: Sequence[Drawn]) -> str:
    """The language of Mermaid, which code hosts draw."""
    names = {each.uri: f"p{index}" for index, each in enumerate(plugins)}
    lines = ["graph RL"]
    lines += [f'  {names[each.uri]}["{each.uri}"]:::{each.state}' for each in plugins]
    lines += [f"  {names[user]} --> {names[needed]}" for user, needed in _edges(plugins)]
    lines += [f"  classDef {state} fill:{colour}" for state, colour in _COLOURS.items()]
    return "\n".join([*lines, ""])


def svg(plugins: Sequence[Drawn]) -> str:
    """A picture by itself, with no fonts or scripts from elsewhere."""
    levels = columns(plugins)
    places = {each.uri: _place(x, y) for x, level in enumerate(levels) for y, each in enumerate(level)}
    width = 2 * _MARGIN + len(levels) * (_WIDTH + _GAP_X) - _GAP_X
    height = 2 * _MARGIN + max((len(level) for level in levels), default=0) * (_HEIGHT + _GAP_Y)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {max(width, 1)} {height}" font-family="sans-serif">',
        _ARROW_HEAD,
        *(_curve(places[user], places[needed]) for user, needed in _edges(plugins)),
        *(_box(each, places[each.uri]) for each in plugins),
        "</svg>",
        "",
    ]
    return "\n".join(parts)


def _edges(plugins: Sequence[Drawn]) -> Iterator[tuple[str, str]]:
    """From who requires to what is required."""
    known = {each.uri for each in plugins}
    for each in plugins:
        for uri in dict.fromkeys(each.uses):
            if uri in known:
                yield each.uri, uri


def _place(column: int, row: int) -> tuple[int, int]:
    return _MARGIN + column * (_WIDTH + _GAP_X), _MARGIN + row * (_HEIGHT + _GAP_Y)


def _box(plugin: Drawn, place: tuple[int, int]) -> str:
    x, y = place
    type, _, id = _split(plugin.uri)
    return (
        f'<g><rect x="{x}" y="{y}" width="{_WIDTH}" height="{_HEIGHT}" rx="4" fill="{_COLOURS[plugin.state]}" '
        f'stroke="#666"/><title>{escape(plugin.uri)}: {plugin.state}</title>'
        f'<text x="{x + 8}" y="{y + 14}" font-size="10" fill="#555">{escape(type)}</text>'
        f'<text x="{x + 8}" y="{y + 28}" font-size="12">{escape(id)}</text></g>'
    )


def _curve(user: tuple[int, int], needed: tuple[int, int]) -> str:
    x1, y1 = user[0], user[1] + _HEIGHT // 2
    x2, y2 = needed[0] + _WIDTH, needed[1] + _HEIGHT // 2
    middle = (x1 + x2) // 2
    path = f"M{x1},{y1} C{middle},{y1} {middle},{y2} {x2},{y2}"
    return f'<path d="{path}" fill="none" stroke="#aaa" marker-end="url(#head)"/>'


def _split(uri: str) -> tuple[str, str, str]:
    """Type and id: a type ends in its version."""
    parts = uri.split(".")
    end = next((i for i, part in enumerate(parts) if part[:1] == "v" and part[1:].isdigit()), len(parts) - 2)
    return ".".join(parts[: end + 1]), ".", ".".join(parts[end + 1 :])


FORMATS: Mapping[str, Callable[[Sequence[Drawn]], str]] = {"svg": svg, "dot": dot, "mermaid": mermaid}
"""The ways to draw, by name."""


def built_in() -> str:
    """The built-in plugins as SVG, planned with the default configuration."""
    from corten.config.load import load

    from .graph import choices, plan
    from .loader import discover

    plugins = [each.registration for each in discover() if each.builtin and each.error is None]
    plugins.sort(key=lambda each: each.uri)
    chosen = choices(plugins, load([], plugins).plugins)
    return svg(planned(plan(plugins, chosen, builtin={each.uri for each in plugins})))


if __name__ == "__main__":
    sys.stdout.write(built_in())
