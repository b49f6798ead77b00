"""One collection: mark on a consistent state while others write on, then sweep in short transactions.

Writers are not stopped while the marking goes on. Instead the keys that they put meanwhile are recorded, and before
each part of the sweep whatever was touched, and all it refers to, is taken as live for this time (a write barrier in
Dijkstra's sense). Something unreachable can only become reachable by such a write, so nothing live is ever removed;
what became garbage meanwhile is found by the next collection. Parts are swept with referrers before what they refer
to, so that a node saved between two parts has everything it needs.
"""

import time
from collections.abc import Iterable
from itertools import islice

from corten_metadata.common import Common
from corten_metadata.transactions import Writing

from . import scan
from .further import FurtherCollector, Sessions
from .nodes import REMOVABLE, Node
from .sweep import Removed, remove
from .tricolor import reachable, referrers_first
from .world import Graph

PART = 256
"""Nodes removed in one transaction: writers wait for no longer, and the reserve of a full disk is enough for it."""


def collect(common: Common, collectors: dict[str, FurtherCollector]) -> list[Removed]:
    """Mark and sweep the store; returns what was removed. The backends are the caller's business."""
    sessions = Sessions(collectors)
    failed = True
    try:
        removed = _collect(common, sessions)
        failed = False
    finally:
        sessions.end(failed=failed)
    for each in removed:
        if each.backend:
            common.leftovers.add(each.backend, each.thing)
        if each.event is not None:
            common.publish(each.node.namespace, each.topic, each.event)
    return removed


def _collect(common: Common, sessions: Sessions) -> list[Removed]:
    with common.store.recording() as touched:
        common.alarm.clear()
        pins = common.holds.pins
        with common.store.read() as view:
            world = scan.world(view, pins, sessions)
        now = time.time_ns()
        common.alarm.note(world.next_expiry(now))
        graph = Graph(world, now)
        live = {node.object for node in reachable(graph.roots(), graph.references)}
        doomed = iter(referrers_first(world.garbage(live), graph.references))
        removed: list[Removed] = []
        while part := list(islice(doomed, PART)):
            removed += _sweep(common, sessions, graph, touched, part)
    return removed


def _sweep(
    common: Common, sessions: Sessions, graph: Graph, touched: Iterable[bytes], part: list[Node]
) -> list[Removed]:
    """Remove the nodes of one part that nothing has saved since the marking."""

    def work(txn: Writing) -> list[Removed]:
        grey = [*common.holds.pins, *scan.news(txn, touched, graph, sessions.labels)]
        saved = {node.object for node in reachable(grey, graph.references)}
        gone = (remove(txn, node) for node in part if node.kind in REMOVABLE and node not in saved)
        return [each for each in gone if each is not None]

    swept = common.store.write(work, removes=True, alone=True)
    for node in part:
        if node.kind in sessions.kinds:
            sessions.remove(node)
    return swept
