"""A gate that many pass together and one may close: LMDB's map can only grow while nobody reads."""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Condition


class Gate:
    """Not reentrant: whoever is inside must not enter again, or a closing gate would wait for it forever."""

    def __init__(self) -> None:
        self._changed = Condition()
        self._inside = 0
        self._shut = False

    def enter(self) -> None:
        """Blocks only while the gate is shut."""
        with self._changed:
            while self._shut:
                self._changed.wait()
            self._inside += 1

    def leave(self) -> None:
        with self._changed:
            self._inside -= 1
            if self._shut and not self._inside:
                self._changed.notify_all()

    @contextmanager
    def shut(self) -> Iterator[None]:
        """Hold new ones back and wait until those inside have left."""
        with self._changed:
            self._shut = True
            while self._inside:
                self._changed.wait()
        try:
            yield
        finally:
            with self._changed:
                self._shut = False
                self._changed.notify_all()
