"""Pieces of a stream from one thread to another, and digests that are made by whichever of them would wait."""

from collections import deque
from collections.abc import Iterator
from queue import SimpleQueue
from threading import Lock
from typing import Generic, TypeVar

from corten import digests

T = TypeVar("T")

AHEAD = 8
"""Pieces that may be under way between two threads."""


class Hashing:
    """A digest of pieces, made some of them behind, in their order, by any thread that has nothing better to do.

    So two threads share the work as it comes, and more of them would change places more often than they gain.
    """

    def __init__(self, algorithm: str) -> None:
        self._algorithm = algorithm
        self._hash = digests.hasher(algorithm)
        self._pieces: deque[bytes] = deque()
        self._lock = Lock()

    def add(self, piece: bytes) -> None:
        """To be hashed some time; at once if too much waits."""
        self._pieces.append(piece)
        while len(self._pieces) > AHEAD:
            with self._lock:
                self._next()

    def some(self) -> bool:
        """Hash a piece; false if none waits, or another thread is at it."""
        if not self._pieces or not self._lock.acquire(blocking=False):
            return False
        try:
            return self._next()
        finally:
            self._lock.release()

    def digest(self) -> str:
        """Of all that was added, after which nothing is added."""
        with self._lock:
            while self._next():
                pass
        return f"{self._algorithm}:{self._hash.hexdigest()}"

    def _next(self) -> bool:
        if not self._pieces:
            return False
        self._hash.update(self._pieces.popleft())
        return True


class Channel(Generic[T]):
    """Items from one thread to another, at most `AHEAD` of them under way; None is the last.

    Who would wait at an end hashes meanwhile. `queue.Queue` has a bound too, but takes 20 times as long for an item.
    """

    def __init__(self, meanwhile: tuple[Hashing, ...]) -> None:
        self._meanwhile = meanwhile
        self._items: SimpleQueue[T | None] = SimpleQueue()
        self._room: SimpleQueue[None] = SimpleQueue()
        for _ in range(AHEAD):
            self._room.put(None)

    def put(self, item: T | None) -> None:
        """Waits for room."""
        while self._room.empty() and self._hash():
            pass
        self._room.get()
        self._items.put(item)

    def __iter__(self) -> Iterator[T]:
        while True:
            while self._items.empty() and self._hash():
                pass
            if (item := self._items.get()) is None:
                return
            self._room.put(None)
            yield item

    def open(self) -> None:
        """Let whoever puts go on, however much: nobody takes any more."""
        for _ in range(AHEAD + 1):
            self._room.put(None)

    def _hash(self) -> bool:
        return any(hashing.some() for hashing in self._meanwhile)
