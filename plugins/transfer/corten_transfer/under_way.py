"""Which transfers are under way and how far they are, for others than the client that began them; and their totals."""

import itertools
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from corten.contracts.transfer import ShowTransfer, TransferProgress, TransferState, TransferTotals

_OVER = ("complete", "already exists", "extracting", "extracted")
"""Events of an item that is here, or there, whatever offset they tell: that is of unpacking."""


@dataclass(slots=True)
class _Item:
    done: int = 0
    total: int = 0
    over: bool = False
    moved: bool = True


@dataclass(slots=True)
class _Live:
    """A transfer and its items by name."""

    state: TransferState
    items: dict[str, _Item] = field(default_factory=dict)

    def note(self, progress: TransferProgress) -> None:
        if not progress.name:
            self.state = replace(self.state, event=progress.event)
        elif progress.parents:
            item = self.items.setdefault(progress.name, _Item())
            item.total = progress.total
            item.over = item.over or progress.event in _OVER
            item.done = item.total if item.over else progress.progress
            item.moved = item.moved and progress.event != "already exists"

    def look(self) -> TransferState:
        return replace(
            self.state,
            done=sum(item.done for item in self.items.values()),
            total=sum(item.total for item in self.items.values()),
            items_done=sum(item.over for item in self.items.values()),
            items=len(self.items),
        )


class UnderWay:
    """Fulfils `TellsTransfers`; used on the event loop."""

    def __init__(self) -> None:
        self._ids = itertools.count(1)
        self._live: dict[int, _Live] = {}
        self._totals: dict[str, TransferTotals] = {}

    def __repr__(self) -> str:
        return f"UnderWay({len(self._live)})"

    def under_way(self) -> Sequence[TransferState]:
        return [live.look() for live in self._live.values()]

    def totals(self) -> Sequence[TransferTotals]:
        return [self._totals[kind] for kind in sorted(self._totals)]

    @contextmanager
    def watched(self, namespace: str, kind: str, image: str, show: ShowTransfer) -> Iterator[ShowTransfer]:
        """For as long as the transfer takes; its events go through what is yielded."""
        id = next(self._ids)
        live = self._live[id] = _Live(TransferState(id, namespace, kind, image, time.time_ns()))

        def noted(progress: TransferProgress) -> None:
            live.note(progress)
            show(progress)

        done = False
        try:
            yield noted
            done = True
        finally:
            del self._live[id]
            self._count(kind, live, done)

    def _count(self, kind: str, live: _Live, done: bool) -> None:
        moved = sum(item.done for item in live.items.values() if item.moved)
        old = self._totals.get(kind, TransferTotals(kind))
        self._totals[kind] = TransferTotals(kind, old.completed + done, old.failed + (not done), old.bytes + moved)
