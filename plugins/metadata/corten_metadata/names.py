"""Names of any length as the last part of a key: short ones as they are, long ones as a prefix and a digest.

LMDB's keys end at 511 bytes, while containerd takes names of up to 32,768. A name longer than `INLINE` bytes becomes
its first `INLINE` bytes and its SHA-256, and the value begins with the full name. Keys of short names are never longer
than `INLINE`, so the two forms cannot be confused. Names sort bytewise: only long names with the same first `INLINE`
bytes (a *group*) lie in the order of their digests, and `page` puts those right.
"""

from collections.abc import Iterator
from hashlib import sha256
from heapq import nsmallest
from typing import Protocol

from corten.errors import InvalidArgument

from .codec import Decoder, varint

INLINE = 256
"""Bytes of a name that a key holds; with the longest head (namespace, lease number, snapshotter) it stays under 511."""
MAX_NAME = 32768
"""Bytes; containerd refuses longer ones, because its database does."""

Row = tuple[bytes, bytes]
"""A full name and its value."""


class Range(Protocol):
    """What can list the entries of a store from a key on."""

    def entries(self, start: bytes, head: bytes) -> Iterator[Row]:
        """Keys from `start` on that begin with `head`, with their values, in order."""
        ...


def encoded(name: str, what: str = "name") -> bytes:
    """The bytes of a name. Raises InvalidArgument for one that is empty, too long or not text."""
    try:
        data = name.encode()
    except UnicodeEncodeError as error:
        raise InvalidArgument(f"{what} {name[:64]!r}: it is not valid UTF-8") from error
    if not data:
        raise InvalidArgument(f"{what}: it must not be empty")
    if len(data) > MAX_NAME:
        raise InvalidArgument(f"{what} {name[:64]!r}…: {len(data)} bytes are more than the {MAX_NAME} allowed")
    return data


def tail(name: bytes) -> bytes:
    """The last part of the key of `name`."""
    return name if len(name) <= INLINE else name[:INLINE] + sha256(name).digest()


def wrap(name: bytes, payload: bytes) -> bytes:
    """The value to store for `name`."""
    return payload if len(name) <= INLINE else varint(len(name)) + name + payload


def unwrap(tail_: bytes, value: bytes) -> Row:
    """Name and payload of an entry, from the last part of its key and its value."""
    if len(tail_) <= INLINE:
        return tail_, value
    decoder = Decoder(value)
    return decoder.blob(), decoder.rest()


def page(view: Range, head: bytes, after: bytes | None, limit: int) -> list[Row]:
    """Up to `limit` rows under `head` whose name is greater than `after`, in bytewise order of names.

    Of a group no more than `limit` rows are held at once, though all of its entries are looked at.
    """
    rows: list[Row] = []
    start = head if after is None else head + after[:INLINE]
    while len(rows) < limit:
        more, group = _short(view, head, start, after, limit - len(rows))
        rows += more
        if group is None or len(rows) >= limit:
            break
        rows += _group(view, head + group, len(head), after, limit - len(rows))
        start = head + group + b"\xff" * 33
    return rows


def _short(view: Range, head: bytes, start: bytes, after: bytes | None, limit: int) -> tuple[list[Row], bytes | None]:
    """Rows of short names up to the next group, and that group's prefix."""
    rows: list[Row] = []
    for key, value in view.entries(start, head):
        name = key[len(head) :]
        if len(name) > INLINE:
            return rows, name[:INLINE]
        if after is None or name > after:
            rows.append((name, value))
            if len(rows) >= limit:
                break
    return rows, None


def _group(view: Range, prefix: bytes, skip: int, after: bytes | None, limit: int) -> list[Row]:
    entries = ((key[skip:], value) for key, value in view.entries(prefix, prefix))
    long = (unwrap(name, value) for name, value in entries if len(name) > INLINE)
    return nsmallest(limit, (row for row in long if after is None or row[0] > after))


def every(view: Range, head: bytes) -> Iterator[Row]:
    """All rows under `head` in the order of keys, not of names; for readers that do not mind."""
    return (unwrap(key[len(head) :], value) for key, value in view.entries(head, head))
