"""The nodes of the collector's graph."""

from typing import NamedTuple

CONTENT = "content"
SNAPSHOT = "snapshot"
CONTAINER = "container"
IMAGE = "image"
LEASE = "lease"
INGEST = "ingest"
SANDBOX = "sandbox"

REMOVABLE = frozenset({CONTENT, SNAPSHOT, IMAGE, LEASE, INGEST})
"""Kinds that are removed when nothing keeps them; the others live until they are deleted."""


class Node(NamedTuple):
    """An object; a snapshot's key is `SNAPSHOTTER/KEY`.

    `flat` is how a lease with `gc.flat` reaches it: what its labels refer to does not count.
    """

    kind: str
    namespace: str
    key: str
    flat: bool = False

    @property
    def object(self) -> "Node":
        """The node without the way it was reached."""
        return self._replace(flat=False) if self.flat else self


def snapshot(namespace: str, snapshotter: str, key: str) -> Node:
    return Node(SNAPSHOT, namespace, f"{snapshotter}/{key}")
