"""Tri-colour marking (Dijkstra, Lamport et al., "On-the-Fly Garbage Collection", 1978); knows nothing of stores.

White nodes were not seen yet, grey ones were seen but their references not followed, black ones are done: reachable.
"""

from collections.abc import Callable, Iterable
from typing import TypeVar

N = TypeVar("N")


def reachable(roots: Iterable[N], references: Callable[[N], Iterable[N]]) -> set[N]:
    """All nodes that can be reached from the roots, these included. Costs memory in proportion to their number."""
    grey = list(dict.fromkeys(roots))
    seen = set(grey)
    while grey:
        for target in references(grey.pop()):
            if target not in seen:
                seen.add(target)
                grey.append(target)
    return seen


def referrers_first(nodes: Iterable[N], references: Callable[[N], Iterable[N]]) -> list[N]:
    """The nodes so ordered that one comes before what it refers to; a cycle is cut somewhere.

    Whatever is removed in this order up to any point, no node that is left refers to one that is gone.
    """
    wanted = dict.fromkeys(nodes)
    done: list[N] = []
    seen: set[N] = set()
    for start in wanted:
        if start not in seen:
            seen.add(start)
            _visit(start, references, wanted, seen, done)
    return done[::-1]


def _visit(
    start: N, references: Callable[[N], Iterable[N]], wanted: dict[N, None], seen: set[N], done: list[N]
) -> None:
    """Depth first; a node is done after all it refers to."""
    path = [(start, iter(references(start)))]
    while path:
        node, targets = path[-1]
        target = next((each for each in targets if each in wanted and each not in seen), None)
        if target is None:
            path.pop()
            done.append(node)
        else:
            seen.add(target)
            path.append((target, iter(references(target))))
