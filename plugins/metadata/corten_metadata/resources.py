"""The resources of leases: which things a lease keeps, as entries of the store."""

from collections.abc import Iterator

from corten import digests
from corten.contracts.objects import Resource
from corten.contracts.scope import Scope
from corten.errors import InvalidArgument

from . import names, rows, schema
from .records import LeaseRecord
from .transactions import Reading, Writing

CONTENT = "content"
IMAGES = "images"
INGESTS = "ingests"
SNAPSHOTS = "snapshots"

_LETTERS = {CONTENT: b"c", IMAGES: b"i", INGESTS: b"n"}
_TYPES = {letter: type for type, letter in _LETTERS.items()}
_SNAPSHOT = b"s"


def snapshots(snapshotter: str) -> str:
    """The type of a snapshot as a resource."""
    return f"{SNAPSHOTS}/{snapshotter}"


def join(txn: Writing, scope: Scope, type: str, id: str) -> None:
    """Add a resource to the lease of the call, if it has one. Raises NotFound for a lease that does not exist."""
    if scope.lease:
        add(txn, scope.namespace, require(txn, scope), Resource(id, type))


def leave(txn: Writing, scope: Scope, type: str, id: str) -> None:
    """Take a resource out of the lease of the call, if it has one and the lease is still there."""
    lease = rows.leases(scope.namespace).get(txn, scope.lease) if scope.lease else None
    if lease is not None:
        drop(txn, scope.namespace, lease, Resource(id, type))


def require(view: Reading, scope: Scope) -> LeaseRecord:
    """The lease of the call. Raises NotFound."""
    return rows.leases(scope.namespace).require(view, scope.lease)


def add(txn: Writing, namespace: str, lease: LeaseRecord, resource: Resource) -> None:
    """Raises InvalidArgument for a type that does not exist, or a malformed id."""
    raw = names.encoded(resource.id, "lease resource")
    txn.put(_head(namespace, lease, resource) + names.tail(raw), names.wrap(raw, b""))


def drop(txn: Writing, namespace: str, lease: LeaseRecord, resource: Resource) -> None:
    """Harmless if the lease does not hold it; errors as `add`."""
    txn.delete(_head(namespace, lease, resource) + names.tail(names.encoded(resource.id, "lease resource")))


def listed(view: Reading, namespace: str, lease: LeaseRecord) -> Iterator[Resource]:
    """All resources of a lease: content, images, ingests, snapshots."""
    head = schema.leased(namespace, lease.number)
    for key, value in view.entries(head, head):
        yield parsed(key[len(head) :], value)


def parsed(rest: bytes, value: bytes) -> Resource:
    """The resource of an entry, from what follows the lease's number in its key, and its value."""
    letter, tail = rest[:1], rest[1:]
    if letter != _SNAPSHOT:
        return Resource(str(names.unwrap(tail, value)[0], "utf-8"), _TYPES[letter])
    snapshotter, _, tail = tail.partition(b"\x00")
    return Resource(str(names.unwrap(tail, value)[0], "utf-8"), snapshots(str(snapshotter, "utf-8")))


def _head(namespace: str, lease: LeaseRecord, resource: Resource) -> bytes:
    kind, slash, snapshotter = resource.type.partition("/")
    head = schema.leased(namespace, lease.number)
    if kind == SNAPSHOTS and slash and "/" not in snapshotter:
        return head + _SNAPSHOT + schema.part(snapshotter, "snapshotter")
    if resource.type not in _LETTERS:
        known = f"{', '.join(_LETTERS)} or {SNAPSHOTS}/SNAPSHOTTER"
        raise InvalidArgument(f"lease resource type {resource.type[:80]!r}: it must be {known}")
    if kind == CONTENT:
        digests.parse(resource.id)
    return head + _LETTERS[kind]
