"""All objects and what they say about each other, as data; from it the roots and the references. Pure.

Containers and sandboxes are roots by being there, leases until they expire, images unless they have an expiry that has
passed, ingests until theirs (an ingest without one lives by its lease), content and snapshots with `gc.root`.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import field

from corten.values import dataclass

from . import nodes
from .labels import NOTHING, LabelFacts
from .nodes import Node


@dataclass(frozen=True, slots=True)
class Facts:
    """What the collector knows of one object."""

    labels: LabelFacts = NOTHING
    references: tuple[Node, ...] = ()
    """What it keeps by its kind: an image its target, a snapshot its parent, a lease its resources."""
    expires_at: int | None = None
    """Nanoseconds since the epoch; None: never, for an ingest: at once."""


@dataclass(slots=True)
class World:
    """`extra_roots` come from pins and from further collectors; these also say what more a node keeps."""

    objects: dict[Node, Facts] = field(default_factory=dict)
    extra_roots: set[Node] = field(default_factory=set)
    removable: frozenset[str] = nodes.REMOVABLE
    more: Callable[[Node], Iterable[Node]] = lambda _: ()

    def next_expiry(self, now: int) -> int | None:
        """The first moment after `now` at which something may become garbage by itself."""
        moments = (facts.expires_at for facts in self.objects.values() if facts.expires_at is not None)
        return min((moment for moment in moments if moment >= now), default=None)

    def garbage(self, live: set[Node]) -> list[Node]:
        """Objects that may be removed and are not live."""
        return [node for node in self.objects if node.kind in self.removable and node not in live]


class Graph:
    """The world as roots and references, at one moment."""

    def __init__(self, world: World, now: int) -> None:
        self._world = world
        self._now = now
        self._derived = _derived(world, now)

    def roots(self) -> Iterator[Node]:
        """What is live by itself."""
        yield from self._world.extra_roots
        for node, facts in self._world.objects.items():
            if is_root(node, facts, self._now):
                yield node

    def references(self, node: Node) -> Iterator[Node]:
        """What a live node keeps; a flat node keeps only what belongs to it by its kind."""
        facts = self._world.objects.get(node.object)
        if facts is not None:
            flat = node.flat or (node.kind == nodes.LEASE and facts.labels.flat)
            yield from (target._replace(flat=True) for target in facts.references) if flat else facts.references
            yield from () if node.flat else facts.labels.references
        yield from () if node.flat else self._derived.get(node, ())
        yield from self._world.more(node)

    def update(self, node: Node, facts: Facts) -> Iterator[Node]:
        """Take in what an object says now; yields it and all that it may keep, conditions fulfilled or not."""
        self._world.objects[node] = facts
        yield node
        yield from (condition.target for condition in facts.labels.conditions)


def is_root(node: Node, facts: Facts, now: int) -> bool:
    """Whether an object is live by itself."""
    match node.kind:
        case nodes.CONTAINER | nodes.SANDBOX:
            return True
        case nodes.LEASE | nodes.IMAGE:
            return facts.expires_at is None or facts.expires_at >= now
        case nodes.INGEST:
            return facts.expires_at is not None and facts.expires_at >= now
        case nodes.CONTENT | nodes.SNAPSHOT:
            return facts.labels.root
    return False


def _derived(world: World, now: int) -> dict[Node, list[Node]]:
    """References that the other side states (back references), and those whose condition holds."""
    edges: defaultdict[Node, list[Node]] = defaultdict(list)
    for node, facts in world.objects.items():
        for referrer in facts.labels.referrers:
            edges[referrer].append(node)
        for condition in facts.labels.conditions:
            target = world.objects.get(condition.target)
            if target and target.labels.used_at is not None and condition.holds(target.labels.used_at, now):
                edges[node].append(condition.target)
    return dict(edges)
