"""A digest that is made in another thread, one piece behind: while that is hashed, the next one is received."""

from concurrent.futures import Executor, Future

from corten import digests

BESIDE = 64 << 10
"""Bytes from which on it is worth another thread."""


class Behind:
    """Used by one thread at a time; pieces are hashed in their order, the next after the one before."""

    def __init__(self, algorithm: str, executor: Executor) -> None:
        self.algorithm = algorithm
        self._state = digests.hasher(algorithm)
        self._executor = executor
        self._hashing: Future[None] | None = None

    def add(self, piece: bytes | memoryview) -> None:
        """The bytes must not change any more; at most one piece waits to be hashed."""
        self._wait()
        if len(piece) < BESIDE:
            self._state.update(piece)
        else:
            self._hashing = self._executor.submit(self._state.update, piece)

    def digest(self) -> str:
        """Of all that was added."""
        self._wait()
        return f"{self.algorithm}:{self._state.hexdigest()}"

    def _wait(self) -> None:
        hashing, self._hashing = self._hashing, None
        if hashing is not None:
            hashing.result()
