"""Activations as resources of the garbage collector: kept by leases and by what their labels refer back to."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from .manager import Mounts
from .records import Record

KIND = "mount"


class MountNode(NamedTuple):
    """A node of the collector's graph, equal to its own kind of node."""

    kind: str
    namespace: str
    key: str
    flat: bool = False

    @property
    def object(self) -> "MountNode":
        return self._replace(flat=False)


class MountCollector:
    """Registered with the metadata store."""

    reference_label = KIND

    def __init__(self, mounts: Mounts) -> None:
        self._mounts = mounts

    def start(self) -> "MountCollection":
        return MountCollection(self._mounts)


class MountCollection:
    """One collection."""

    def __init__(self, mounts: Mounts) -> None:
        self._mounts = mounts
        self._records = {MountNode(KIND, r.namespace, r.name): r for r in mounts.begin_collection()}
        self._doomed: list[Record] = []

    def all(self) -> Iterable[MountNode]:
        return list(self._records)

    def active(self, namespace: str) -> Iterable[MountNode]:
        """None is a root by being there: a container, a lease or a label keeps it."""
        return ()

    def leased(self, namespace: str, lease: str) -> Iterable[MountNode]:
        return [node for node, record in self._records.items() if (node.namespace, record.lease) == (namespace, lease)]

    def labels(self, node: MountNode) -> Mapping[str, str]:
        """What the collector reads references out of."""
        record = self._records.get(node)
        return record.activation.labels if record else {}

    def references(self, node: MountNode) -> Iterable[MountNode]:
        return ()

    def remove(self, node: MountNode) -> None:
        record = self._records.get(MountNode(node.kind, node.namespace, node.key))
        if record is not None:
            self._doomed.append(record)

    def cancel(self) -> None:
        self._doomed.clear()

    def finish(self) -> None:
        self._mounts.collect(self._doomed)
