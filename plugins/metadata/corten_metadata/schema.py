r"""How the store is laid out: every key there is, drawn as a tree.

A namespace has no NUL byte (it is an identifier of at most 76 letters), so NUL ends it. NAME is a name of any length as
`names.tail` writes it; N is a number in 8 bytes, big endian, never used twice. Values are written by `codec` in the
order of fields given in `records`.

    \x00
    ├── version                                  : number of the schema, see `migrations`
    └── sequence                                 : numbers below this one may be in use
    \x01
    └── NAMESPACE \0                             : labels
    \x02
    └── NAMESPACE \0
        ├── b DIGEST                             : blob           times, labels, size
        ├── c NAME                               : container      times, labels, snapshotter, key, …, spec
        ├── i NAME                               : image          times, labels, target
        ├── k N(parent) N(child)                 : name of a child snapshot
        ├── l NAME                               : lease          time, labels, N
        ├── n NAME                               : ingest         backend ref, expiry, expected digest
        ├── r N(lease)                           : what a lease holds
        │   ├── c NAME                           :   content
        │   ├── i NAME                           :   image
        │   ├── n NAME                           :   ingest
        │   └── s SNAPSHOTTER \0 NAME            :   snapshot
        ├── s SNAPSHOTTER \0 NAME                : snapshot       times, labels, N, backend key, parent
        └── x NAME                               : sandbox        times, labels, …
    \x03
    └── DIGEST \0 NAMESPACE \0                   : who uses a blob of the backend
        ├── b                                    :   a blob of that namespace
        └── n N                                  :   an ingest of that namespace that expects it
    \x04
    └── SNAPSHOTTER \0 SHA-256(backend key) N    : who uses a snapshot of the backend

Whoever changes this raises `migrations.VERSION` and adds the step.
"""

from hashlib import sha256

from corten import identifiers
from corten.errors import InvalidArgument

VERSION_KEY = b"\x00version"
SEQUENCE_KEY = b"\x00sequence"
NAMESPACES = b"\x01"
OBJECTS = b"\x02"
BLOB_USERS = b"\x03"
SNAPSHOT_USERS = b"\x04"

BLOB = b"b"
CONTAINER = b"c"
IMAGE = b"i"
CHILD = b"k"
LEASE = b"l"
INGEST = b"n"
LEASED = b"r"
SNAPSHOT = b"s"
SANDBOX = b"x"


def number(value: int) -> bytes:
    """A number as it stands in keys."""
    return value.to_bytes(8, "big")


def namespace_key(namespace: str) -> bytes:
    """Raises InvalidArgument for a name that is not an identifier."""
    identifiers.validate(namespace, "namespace")
    return NAMESPACES + namespace.encode() + b"\x00"


def objects(namespace: str) -> bytes:
    """What all keys of a namespace's objects begin with."""
    return OBJECTS + namespace.encode() + b"\x00"


def head(namespace: str, kind: bytes) -> bytes:
    """What the keys of all objects of a kind begin with."""
    return objects(namespace) + kind


def part(text: str, what: str) -> bytes:
    """A snapshotter's name inside a key. Raises InvalidArgument for one that does not fit there."""
    data = text.encode()
    if not data or len(data) > identifiers.MAX_LENGTH or b"\x00" in data:
        raise InvalidArgument(f"{what} {text[:64]!r}: 1 to {identifiers.MAX_LENGTH} bytes without NUL are allowed")
    return data + b"\x00"


def snapshots(namespace: str, snapshotter: str) -> bytes:
    """What the keys of the snapshots of a snapshotter begin with."""
    return head(namespace, SNAPSHOT) + part(snapshotter, "snapshotter")


def children(namespace: str, parent: int) -> bytes:
    """What the keys of the children of a snapshot begin with."""
    return head(namespace, CHILD) + number(parent)


def leased(namespace: str, lease: int) -> bytes:
    """What the keys of the resources of a lease begin with."""
    return head(namespace, LEASED) + number(lease)


def blob_users(digest: str) -> bytes:
    """What the keys of the users of a blob begin with; the digest must be a valid one."""
    return BLOB_USERS + digest.encode() + b"\x00"


def blob_user(digest: str, namespace: str) -> bytes:
    """A blob's own entry among its users."""
    return blob_users(digest) + namespace.encode() + b"\x00" + BLOB


def ingest_user(digest: str, namespace: str, ingest: int) -> bytes:
    """The entry of an ingest that expects a blob which is there already."""
    return blob_users(digest) + namespace.encode() + b"\x00" + INGEST + number(ingest)


def snapshot_users(snapshotter: str, backend_key: str) -> bytes:
    """What the keys of the users of a backend's snapshot begin with."""
    return SNAPSHOT_USERS + part(snapshotter, "snapshotter") + sha256(backend_key.encode()).digest()


def snapshot_user(snapshotter: str, backend_key: str, id: int) -> bytes:
    """The entry of the snapshot with that number."""
    return snapshot_users(snapshotter, backend_key) + number(id)
