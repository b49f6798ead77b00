"""Graphs of what requires what, drawn purely: as text, as Graphviz source, as SVG.

A graph maps each node to the nodes it requires. Layers go from what requires nothing, at the top, downwards.
"""

from collections.abc import Mapping, Sequence
from html import escape

Graph = Mapping[str, Sequence[str]]

_COLOURS = {"ok": "#2e7d32", "skipped": "#757575", "disabled": "#757575", "error": "#c62828", "pending": "#f9a825"}
_CELL_HEIGHT = 34
_LAYER_GAP = 90
_CHARACTER = 6.4
"""Width in pixels of one character of the labels."""
_MARGIN = 16
_GAP = 14


def layers(graph: Graph) -> list[list[str]]:
    """The nodes by the length of their longest chain of requirements; a cycle is cut where it closes."""
    depth: dict[str, int] = {}

    def measure(node: str, path: tuple[str, ...]) -> int:
        if node not in depth:
            path = (*path, node)
            required = [each for each in graph[node] if each in graph and each not in path]
            depth[node] = 1 + max((measure(each, path) for each in required), default=-1)
        return depth[node]

    for node in graph:
        measure(node, ())
    return [[node for node in graph if depth[node] == level] for level in range(max(depth.values(), default=-1) + 1)]


def as_text(graph: Graph, states: Mapping[str, str]) -> list[str]:
    """A line for each node with its state, and what it requires indented below."""
    lines = []
    for layer in layers(graph):
        for node in layer:
            lines.append(f"{node} ({states.get(node, 'unknown')})")
            lines += [f"  needs {each}" for each in graph[node]]
    return lines


def as_dot(graph: Graph, states: Mapping[str, str]) -> list[str]:
    """For Graphviz."""
    nodes = [f'  "{node}" [color="{_colour(node, states)}"];' for node in graph]
    edges = [f'  "{node}" -> "{each}";' for node in graph for each in graph[node]]
    return ["digraph plugins {", "  rankdir=BT;", "  node [shape=box];", *nodes, *edges, "}"]


def as_svg(graph: Graph, states: Mapping[str, str]) -> list[str]:
    """A picture that any browser shows: boxes in layers, a line from each box up to what it requires."""
    boxes, width = _boxes(graph)
    height = max((y for _, y, _ in boxes.values()), default=0) + _CELL_HEIGHT + _MARGIN
    return [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height}" '
        f'viewBox="0 0 {width:.0f} {height}" font-family="monospace" font-size="10">',
        *(_line(boxes[node], boxes[each]) for node in graph for each in graph[node] if each in boxes),
        *(_box(node, *boxes[node], _colour(node, states)) for node in graph),
        "</svg>",
    ]


def _boxes(graph: Graph) -> tuple[dict[str, tuple[float, int, float]], float]:
    """Left edge, top and width of each box, and the width of the whole."""
    found: dict[str, tuple[float, int, float]] = {}
    widest = 0.0
    for level, layer in enumerate(layers(graph)):
        x = float(_MARGIN)
        for node in layer:
            width = max(map(len, _label(node))) * _CHARACTER + 12
            found[node] = (x, _MARGIN + level * _LAYER_GAP, width)
            x += width + _GAP
        widest = max(widest, x)
    return found, widest + _MARGIN


def _label(uri: str) -> tuple[str, str]:
    """Type and id on two lines; the version of a type ends in `vN`, ids follow it."""
    type, _, id = uri.removeprefix("io.containerd.").partition(".")
    parts = uri.removeprefix("io.containerd.").split(".")
    cut = next((n for n, part in enumerate(parts) if len(part) > 1 and part[0] == "v" and part[1:].isdigit()), None)
    return (type, id) if cut is None else (".".join(parts[: cut + 1]), ".".join(parts[cut + 1 :]))


def _box(node: str, x: float, y: int, width: float, colour: str) -> str:
    type, id = (escape(part) for part in _label(node))
    return (
        f"<g><title>{escape(node)}</title>"
        f'<rect x="{x:.0f}" y="{y}" width="{width:.0f}" height="{_CELL_HEIGHT}" rx="4" fill="white" stroke="{colour}"/>'
        f'<text x="{x + 6:.0f}" y="{y + 13}" fill="#555">{type}</text>'
        f'<text x="{x + 6:.0f}" y="{y + 27}" font-weight="bold">{id}</text></g>'
    )


def _line(lower: tuple[float, int, float], upper: tuple[float, int, float]) -> str:
    x1, y1 = lower[0] + lower[2] / 2, lower[1]
    x2, y2 = upper[0] + upper[2] / 2, upper[1] + _CELL_HEIGHT
    middle = (y1 + y2) / 2
    path = f"M{x1:.0f} {y1} C{x1:.0f} {middle:.0f} {x2:.0f} {middle:.0f} {x2:.0f} {y2}"
    return f'<path d="{path}" fill="none" stroke="#b0bec5"/>'


def _colour(node: str, states: Mapping[str, str]) -> str:
    return _COLOURS.get(states.get(node, ""), "#000000")
