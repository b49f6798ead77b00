"""`Table`: records by id, by a beginning of an id, and by name.

Changed on the event loop only. Any thread may look things up: each look-up is one operation on a dict, and what it
finds is frozen.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

from corten.errors import AlreadyExists, InvalidArgument, NotFound

SHORTEST = 1
"""Characters of an id that may stand for it, if no other id begins so."""


class Record(Protocol):
    """What a table holds."""

    @property
    def id(self) -> str: ...
    @property
    def name(self) -> str: ...


T = TypeVar("T", bound=Record)


class Table(Generic[T]):
    """`kind` is what its records are called in messages. `watch` sees each change: the record, or None once it went."""

    def __init__(self, kind: str) -> None:
        self._kind = kind
        self._records: dict[str, T] = {}
        self._names: dict[str, str] = {}
        self._watchers: list[Callable[[str, T | None], None]] = []

    def __repr__(self) -> str:
        return f"Table({len(self._records)} of {self._kind})"

    def watch(self, watcher: Callable[[str, T | None], None]) -> None:
        """Have `watcher(id, record)` called on the loop after each change; it must not block or raise."""
        self._watchers.append(watcher)

    def reserve(self, name: str, id: str) -> None:
        """Take a name before there is a record. Raises AlreadyExists, naming the holder."""
        holder = self._names.setdefault(name, id)
        if holder != id:
            raise AlreadyExists(f'{self._kind} name "{name}": it is taken by {holder} (remove that first)')

    def release(self, name: str, id: str) -> None:
        """Free a name if it is this id's; harmless otherwise."""
        if self._names.get(name) == id:
            del self._names[name]

    def put(self, record: T) -> T:
        """Add a record, or replace the one with its id; its name is reserved with it. Raises AlreadyExists."""
        self.reserve(record.name, record.id)
        self._records[record.id] = record
        self._tell(record.id, record)
        return record

    def drop(self, id: str) -> None:
        """Forget a record and its name; harmless for one that is not there."""
        record = self._records.pop(id, None)
        if record is not None:
            self.release(record.name, id)
            self._tell(id, None)

    def find(self, id: str) -> T | None:
        """By whole id."""
        return self._records.get(id)

    def holder(self, name: str) -> str | None:
        """The id that has a name."""
        return self._names.get(name)

    def get(self, id: str) -> T:
        """By id, or by a beginning that only one has. Raises NotFound, InvalidArgument if several have it."""
        if record := self._records.get(id):
            return record
        found = [each for each in tuple(self._records) if id and each.startswith(id)]
        if len(found) > 1:
            raise InvalidArgument(f'{self._kind} "{id}": {len(found)} ids begin so: write more of it')
        if not found or (record := self._records.get(found[0])) is None:
            raise NotFound(f'{self._kind} "{id[:80]}": not found')
        return record

    def all(self) -> list[T]:
        """Every record, in the order in which they were added."""
        return list(self._records.values())

    def _tell(self, id: str, record: T | None) -> None:
        for watcher in self._watchers:
            watcher(id, record)
