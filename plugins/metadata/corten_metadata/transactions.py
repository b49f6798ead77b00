"""What code inside a transaction may do: `Reading` looks at one consistent state, `Writing` also changes it."""

from collections.abc import Iterator
from typing import Any

from .names import Row


class Reading:
    """A state of the store; it must not be kept after its `with` block."""

    __slots__ = ("_txn",)

    def __init__(self, txn: Any) -> None:
        self._txn = txn

    def get(self, key: bytes) -> bytes | None:
        """The value of a key, or None."""
        value: bytes | None = self._txn.get(key)
        return value

    def entries(self, start: bytes, head: bytes) -> Iterator[Row]:
        """Keys from `start` on that begin with `head`, with their values, in order."""
        with self._txn.cursor() as cursor:
            found = cursor.set_range(start)
            while found and cursor.key().startswith(head):
                yield cursor.item()
                found = cursor.next()

    def count(self, head: bytes) -> int:
        """How many keys begin with `head`."""
        return sum(1 for _ in self.entries(head, head))

    def any(self, head: bytes) -> bool:
        """Whether a key begins with `head`."""
        with self._txn.cursor() as cursor:
            return bool(cursor.set_range(head) and cursor.key().startswith(head))


class Writing(Reading):
    """One update. `size` counts the bytes put, and `keys` is what was put, both for the writer thread."""

    __slots__ = ("keys", "size")

    def __init__(self, txn: Any) -> None:
        super().__init__(txn)
        self.keys: set[bytes] = set()
        self.size = 0

    def put(self, key: bytes, value: bytes) -> None:
        """Set a key; replaces what was there."""
        self.keys.add(key)
        self.size += len(key) + len(value)
        self._txn.put(key, value)

    def delete(self, key: bytes) -> bool:
        """Whether the key was there."""
        return bool(self._txn.delete(key))

    def clear(self, head: bytes) -> int:
        """Delete every key that begins with `head`; returns how many there were."""
        keys = [key for key, _ in self.entries(head, head)]
        return sum(self.delete(key) for key in keys)
