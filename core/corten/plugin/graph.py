"""The plan of a start: which plugins each plugin waits for, which it uses, and an order that serves all of them.

Pure: registrations and choices in, a `Plan` out. Nothing here knows whether a plugin will work.

The order is topological and stable: of the plugins that are free to start, the one registered first comes first.
Members of a cycle cannot start; those that came from outside Corten are taken out first, so that a third party's
mistake does not take the built-in plugins of the cycle down with it.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import field

from corten.errors import FailedPrecondition
from corten.values import dataclass

from .model import Cardinality, Registration, Requirement

Choices = Mapping[tuple[str, str], str]
"""`(URI, config field) -> id`: what the configuration chose for requirements that have a key."""


@dataclass(frozen=True, slots=True)
class Node:
    """One plugin in the plan."""

    uri: str
    after: tuple[str, ...]
    """URIs that come before it in the order, and so are stopped after it."""
    awaits: tuple[str, ...]
    """Those of `after` that must have started or failed before it starts: all but what it wants `later`."""
    uses: Mapping[str, tuple[str, ...]]
    """Type to the URIs it is given: one for `one`, all for `each`; nothing for `order`."""
    must: tuple[str, ...]
    """URIs without which it cannot start."""
    unmet: str = ""
    """Why a `one` requirement has no candidate; empty if all have."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What `plan` found."""

    nodes: Mapping[str, Node]
    order: tuple[str, ...]
    """Every URI once, each after all it waits for; stop goes the other way."""
    cycles: Mapping[str, str] = field(default_factory=dict)
    """URI to the cycle it was taken out of, drawn as `a -> b -> a`."""

    def ahead(self) -> tuple[str, ...]:
        """The URIs of those that want others `later`, and of what they wait for: these are to be up first."""
        wanted: set[str] = set()
        for uri in reversed(self.order):
            node = self.nodes[uri]
            if uri in wanted or len(node.awaits) < len(node.after):
                wanted |= {uri, *node.awaits}
        return tuple(uri for uri in self.order if uri in wanted)

    def waves(self) -> list[tuple[str, ...]]:
        """The URIs in groups: those of one group can start side by side once the groups before it are up."""
        depth: dict[str, int] = {}
        for uri in self.order:
            depth[uri] = 1 + max((depth[each] for each in self.nodes[uri].awaits if each in depth), default=-1)
        return [
            tuple(u for u in self.order if depth[u] == level) for level in range(max(depth.values(), default=-1) + 1)
        ]


def plan(
    registrations: Sequence[Registration],
    choices: Choices | None = None,
    *,
    disabled: Set[str] = frozenset(),
    builtin: Set[str] = frozenset(),
) -> Plan:
    """Resolve the requirements and order the plugins. URIs must be unique.

    Where a `one` requirement names no id and there are several candidates, the only built-in one is taken: installing
    a package changes nothing for those who did not ask for it.
    """
    nodes = {r.uri: _node(r, registrations, choices or {}, disabled, builtin) for r in registrations}
    edges = {uri: node.after for uri, node in nodes.items()}
    cycles: dict[str, str] = {}
    while cycle := find_cycle(edges):
        drawing = " -> ".join([*cycle, cycle[0]])
        for uri in [uri for uri in cycle if uri not in builtin] or cycle:
            cycles[uri] = drawing
            edges[uri] = ()
    return Plan(nodes, tuple(ordered(edges)), cycles)


def choices(registrations: Sequence[Registration], configs: Mapping[str, object]) -> Choices:
    """What the filled config models (by URI) choose for requirements with a key; an empty value chooses nothing."""
    return {
        (registration.uri, need.key): chosen
        for registration in registrations
        for need in registration.requires
        if need.key and isinstance(chosen := getattr(configs.get(registration.uri), need.key, None), str) and chosen
    }


def ordered(edges: Mapping[str, Sequence[str]]) -> Iterator[str]:
    """Topological order of `edges` (key to what comes before it), stable in the order of the keys.

    Raises FailedPrecondition, with the cycle, if there is one.
    """
    rank = {name: index for index, name in enumerate(edges)}
    waiting = {name: len(set(before)) for name, before in edges.items()}
    after: dict[str, list[str]] = {name: [] for name in edges}
    for name, before in edges.items():
        for each in set(before):
            after[each].append(name)
    free = [(rank[name], name) for name, count in waiting.items() if count == 0]
    heapq.heapify(free)
    done = 0
    while free:
        _, name = heapq.heappop(free)
        done += 1
        yield name
        for each in after[name]:
            waiting[each] -= 1
            if waiting[each] == 0:
                heapq.heappush(free, (rank[each], each))
    if done < len(edges):
        cycle = find_cycle(edges)
        raise FailedPrecondition(f"these need each other in a circle: {' -> '.join([*cycle, *cycle[:1]])}")


def find_cycle(edges: Mapping[str, Sequence[str]]) -> list[str]:
    """The members of one cycle, each followed by one it waits for; empty if there is none."""
    finished: set[str] = set()
    for start in edges:
        path: list[str] = []
        branches = [iter((start,))]
        while branches:
            name = next(branches[-1], None)
            if name is None:
                branches.pop()
                if path:
                    finished.add(path.pop())
            elif name in path:
                return path[path.index(name) :]
            elif name not in finished:
                path.append(name)
                branches.append(iter(edges[name]))
    return []


def _node(
    registration: Registration,
    registrations: Sequence[Registration],
    choices: Choices,
    disabled: Set[str],
    builtin: Set[str],
) -> Node:
    after: dict[str, bool] = {}
    """Whether it waits for it."""
    uses: dict[str, tuple[str, ...]] = {}
    must: list[str] = []
    unmet: list[str] = []
    for need in registration.requires:
        members = [r.uri for r in registrations if r.type.uri == need.type.uri and r.uri != registration.uri]
        if need.cardinality is Cardinality.ONE:
            wanted = choices.get((registration.uri, need.key or "")) or need.id
            chosen, reason = _choose(need, wanted, members, disabled, builtin)
            unmet += [reason] if reason else []
            members = [chosen] if chosen else []
            must += members
        if need.cardinality is not Cardinality.ORDER:
            uses[need.type.uri] = (*uses.get(need.type.uri, ()), *members)
        for uri in members:
            after[uri] = after.get(uri, False) or need.cardinality is not Cardinality.LATER
    awaits = tuple(uri for uri, waits in after.items() if waits)
    return Node(registration.uri, tuple(after), awaits, uses, tuple(must), "; ".join(unmet))


def _choose(
    need: Requirement, wanted: str | None, members: Sequence[str], disabled: Set[str], builtin: Set[str]
) -> tuple[str, str]:
    """The URI chosen for a `one` requirement, or the reason why there is none."""
    if wanted is not None:
        uri = f"{need.type}.{wanted}"
        return (uri, "") if uri in members else ("", f"there is no plugin {uri}{_instead(members)}")
    enabled = [uri for uri in members if uri not in disabled] or list(members)
    own = [uri for uri in enabled if uri in builtin]
    if len(enabled) == 1 or len(own) == 1:
        return (enabled[0] if len(enabled) == 1 else own[0]), ""
    if not enabled:
        return "", f"there is no plugin of type {need.type}"
    remedy = f" (choose one with the setting {need.key})" if need.key else " (disable all but one)"
    return "", f"there are several plugins of type {need.type}: {', '.join(enabled)}{remedy}"


def _instead(members: Sequence[str]) -> str:
    return f" (there are: {', '.join(members)})" if members else ""
