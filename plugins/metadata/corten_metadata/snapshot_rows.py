"""A snapshot's entries in the store: the record, its place among its parent's children, its use of the backend."""

from collections.abc import Mapping

from . import rows, schema
from .records import SnapshotRecord
from .transactions import Writing

TARGET = "containerd.io/snapshot.ref"
"""Names the committed snapshot that a preparation is for; a remote snapshotter may have it already."""
_INHERITED = "containerd.io/snapshot/"


def inherited(labels: Mapping[str, str]) -> dict[str, str]:
    """The labels that the backend gets to see."""
    return {key: value for key, value in labels.items() if key == TARGET or key.startswith(_INHERITED)}


def link(txn: Writing, namespace: str, snapshotter: str, key: str, record: SnapshotRecord) -> None:
    """Enter a snapshot."""
    rows.touch(txn, namespace)
    rows.snapshots(namespace, snapshotter).put(txn, key, record)
    txn.put(schema.snapshot_user(snapshotter, record.backend_key, record.number), b"")
    if record.parent:
        txn.put(schema.children(namespace, record.parent_number) + schema.number(record.number), key.encode())


def unlink(txn: Writing, namespace: str, snapshotter: str, key: str, record: SnapshotRecord) -> None:
    """Remove a snapshot's entries, whether or not it has children."""
    rows.snapshots(namespace, snapshotter).delete(txn, key)
    txn.delete(schema.snapshot_user(snapshotter, record.backend_key, record.number))
    if record.parent:
        txn.delete(schema.children(namespace, record.parent_number) + schema.number(record.number))
