"""`Shown`: the messages by which records are listed, made once for each state of a record."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Generic, TypeVar

from .table import Record, Table

R = TypeVar("R", bound=Record)
M = TypeVar("M")


class Shown(Generic[R, M]):
    """Messages of the records of a table, made with `make` when first asked for. Used on the event loop."""

    def __init__(self, table: Table[R], make: Callable[[R], M]) -> None:
        self._make = make
        self._made: dict[str, tuple[R, M]] = {}
        table.watch(self._changed)

    def __call__(self, records: Iterable[R]) -> list[M]:
        """Not to be changed by who gets them."""
        return [self._one(record) for record in records]

    def _one(self, record: R) -> M:
        known = self._made.get(record.id)
        if known is None or known[0] is not record:
            known = self._made[record.id] = (record, self._make(record))
        return known[1]

    def _changed(self, id: str, record: R | None) -> None:
        if record is None:
            self._made.pop(id, None)
