"""Removing what a collection found, from the store: one node, its entries, and what is left in the backends."""

from corten.api.events.image_pb2 import ImageDelete
from corten.api.events.snapshot_pb2 import SnapshotRemove
from corten.values import dataclass
from google.protobuf.message import Message

from corten_metadata import rows, schema
from corten_metadata.content import remove_blob, remove_ingest
from corten_metadata.snapshot_rows import unlink
from corten_metadata.transactions import Writing

from . import nodes
from .nodes import Node


@dataclass(frozen=True, slots=True)
class Removed:
    """A node that is gone: the thing that may be left in a backend, and the event to publish."""

    node: Node
    backend: str = ""
    thing: str = ""
    topic: str = ""
    event: Message | None = None


def remove(txn: Writing, node: Node) -> Removed | None:
    """Remove a node's entries; None if it was not there any more."""
    match node.kind:
        case nodes.SNAPSHOT:
            return _snapshot(txn, node)
        case nodes.CONTENT:
            if rows.blobs(node.namespace).get(txn, node.key) is None:
                return None
            remove_blob(txn, node.namespace, node.key)
            return Removed(node, "blobs", node.key)
        case nodes.INGEST:
            ingest = remove_ingest(txn, node.namespace, node.key)
            return None if ingest is None else Removed(node, "ingests", ingest.backend_ref)
        case nodes.LEASE:
            return _lease(txn, node)
    gone = rows.images(node.namespace).delete(txn, node.key)
    return Removed(node, topic="/images/delete", event=ImageDelete(name=node.key)) if gone else None


def _snapshot(txn: Writing, node: Node) -> Removed | None:
    snapshotter, _, key = node.key.partition("/")
    record = rows.snapshots(node.namespace, snapshotter).get(txn, key)
    if record is None or txn.any(schema.children(node.namespace, record.number)):
        return None
    unlink(txn, node.namespace, snapshotter, key, record)
    event = SnapshotRemove(key=key, snapshotter=snapshotter)
    return Removed(node, f"snapshots/{snapshotter}", record.backend_key, "/snapshot/remove", event)


def _lease(txn: Writing, node: Node) -> Removed | None:
    lease = rows.leases(node.namespace).get(txn, node.key)
    if lease is None:
        return None
    rows.leases(node.namespace).delete(txn, node.key)
    txn.clear(schema.leased(node.namespace, lease.number))
    return Removed(node)
