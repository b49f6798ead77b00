"""How other plugins let the collector keep and remove resources of their own: streams, mount activations.

Register a `FurtherCollector` with `LmdbMetadata.register_collector`. Labels `containerd.io/gc.ref.REFERENCE_LABEL` then
refer to its resources, which are nodes of the kind it was registered under.
"""

from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Protocol

from corten.errors import CortenError

from .nodes import Node


class FurtherCollection(Protocol):
    """One collection, from its start to `finish` or `cancel`. All but these two must be quick: writers wait."""

    def all(self) -> Iterable[Node]:
        """Every resource there is."""
        ...

    def active(self, namespace: str) -> Iterable[Node]:
        """Those in use: roots."""
        ...

    def leased(self, namespace: str, lease: str) -> Iterable[Node]:
        """Those that a lease holds."""
        ...

    def references(self, node: Node) -> Iterable[Node]:
        """What a resource keeps alive; asked when the collector comes to it."""
        ...

    # Those whose resources have labels also have `labels(node) -> Mapping[str, str]`: references and back references
    # are read out of them as out of any object's.

    def remove(self, node: Node) -> None:
        """Nothing keeps it: mark it as removed."""
        ...

    def cancel(self) -> None:
        """The collection failed; forget it."""
        ...

    def finish(self) -> None:
        """Do the long work of removal now."""
        ...


class FurtherCollector(Protocol):
    """Starts collections; one that raises is left out of that round."""

    @property
    def reference_label(self) -> str:
        """The word after `gc.ref.`; empty for none. It should be the kind of the nodes."""
        ...

    def start(self) -> FurtherCollection: ...


class Sessions:
    """The further collections of one round, by kind of node."""

    def __init__(self, collectors: dict[str, FurtherCollector]) -> None:
        self._open: dict[str, FurtherCollection] = {}
        self.labels: list[str] = []
        for kind, collector in collectors.items():
            with suppress(CortenError):
                self._open[kind] = collector.start()
                self.labels += [collector.reference_label] if collector.reference_label else []

    @property
    def kinds(self) -> frozenset[str]:
        return frozenset(self._open)

    def all(self) -> list[Node]:
        return [node for each in self._open.values() for node in each.all()]

    def active(self, namespace: str) -> list[Node]:
        return [node for each in self._open.values() for node in each.active(namespace)]

    def leased(self, namespace: str, lease: str) -> list[Node]:
        return [node for each in self._open.values() for node in each.leased(namespace, lease)]

    def references(self, node: Node) -> Iterable[Node]:
        session = self._open.get(node.kind)
        return () if session is None else session.references(node)

    def labels_of(self, node: Node) -> Mapping[str, str]:
        labels = getattr(self._open.get(node.kind), "labels", None)
        return {} if labels is None else labels(node)

    def remove(self, node: Node) -> None:
        self._open[node.kind].remove(node)

    def end(self, *, failed: bool) -> None:
        """Finish or cancel all."""
        for each in self._open.values():
            with suppress(CortenError):
                each.cancel() if failed else each.finish()
