"""What is in progress: things of the backends that no removal may touch, and the objects that operations rely on.

Between an operation on a backend and the update that records it, nothing in the store speaks for the new blob or
snapshot. Whoever works on such a thing *holds* it; whoever removes one *claims* it, which fails while it is held, and
makes new holders wait until the removal is over. *Pins* are objects of the store that the collector takes as live while
an operation builds on them (the parent of a snapshot in preparation, an ingest that is being written).
"""

from collections import Counter
from collections.abc import Hashable, Iterable, Iterator
from contextlib import contextmanager
from threading import Condition
from typing import Any

from .gc.nodes import Node


class Holds:
    """Any thread may call."""

    def __init__(self) -> None:
        self._changed = Condition()
        self._held: Counter[Hashable] = Counter()
        self._claimed: set[Hashable] = set()
        self._pins: Counter[Node] = Counter()

    def __repr__(self) -> str:
        return f"Holds(held={len(self._held)}, claimed={len(self._claimed)}, pins={len(self._pins)})"

    @contextmanager
    def hold(self, *things: Hashable) -> Iterator[None]:
        """Keep things from being removed; waits for a removal that is under way."""
        with self._changed:
            while any(thing in self._claimed for thing in things):
                self._changed.wait()
            self._held.update(things)
        try:
            yield
        finally:
            self.release(*things)

    def take(self, *things: Hashable) -> None:
        """`hold` without a block: until `release`."""
        with self._changed:
            while any(thing in self._claimed for thing in things):
                self._changed.wait()
            self._held.update(things)

    def release(self, *things: Hashable) -> None:
        """Give back what `take` took."""
        with self._changed:
            _subtract(self._held, things)
            self._changed.notify_all()

    @contextmanager
    def claim(self, thing: Hashable) -> Iterator[bool]:
        """Whether nobody holds the thing; if so nobody gets hold of it inside the block."""
        with self._changed:
            free = thing not in self._held and thing not in self._claimed
            if free:
                self._claimed.add(thing)
        try:
            yield free
        finally:
            if free:
                with self._changed:
                    self._claimed.discard(thing)
                    self._changed.notify_all()

    @contextmanager
    def alone(self, *things: Hashable) -> Iterator[None]:
        """Let one thread at a time work on things that are named: others wait for it."""
        with self._changed:
            while any(thing in self._claimed or thing in self._held for thing in things):
                self._changed.wait()
            self._claimed.update(things)
        try:
            yield
        finally:
            with self._changed:
                self._claimed.difference_update(things)
                self._changed.notify_all()

    def pin(self, *nodes: Node) -> None:
        """The collector takes these as live until `unpin`."""
        with self._changed:
            self._pins.update(nodes)

    def unpin(self, *nodes: Node) -> None:
        with self._changed:
            _subtract(self._pins, nodes)

    @contextmanager
    def pinned(self, *nodes: Node) -> Iterator[None]:
        """`pin` for the block."""
        self.pin(*nodes)
        try:
            yield
        finally:
            self.unpin(*nodes)

    @property
    def pins(self) -> frozenset[Node]:
        """What is pinned now."""
        with self._changed:
            return frozenset(self._pins)


def _subtract(counter: Counter[Any], things: Iterable[Hashable]) -> None:
    for thing in things:
        counter[thing] -= 1
        if counter[thing] <= 0:
            del counter[thing]
