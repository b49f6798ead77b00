"""An update on its way through the writer thread: what to run, how it went, and who waits for it."""

from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from .transactions import Writing


class Job:
    """Run at least once; settled once, after the commit. Its outcome is kept back until then."""

    __slots__ = ("_error", "_future", "_value", "_work", "alone", "removes", "vital")

    def __init__(self, work: Callable[[Writing], Any], removes: bool, vital: bool, alone: bool) -> None:
        self._work = work
        self._future: Future[Any] = Future()
        self._error: Exception | None = None
        self._value: Any = None
        self.removes = removes
        self.vital = vital or removes
        self.alone = alone

    def run(self, writing: Writing) -> None:
        """Run the update; raises what it raises."""
        self._error = None
        self._value = self._work(writing)

    def failed(self, error: Exception) -> None:
        """Note that this run did not succeed."""
        self._error = error

    def settle(self) -> bool:
        """Tell who waits; whether it succeeded."""
        if self._error is not None:
            self._future.set_exception(self._error)
        else:
            self._future.set_result(self._value)
        return self._error is None

    def fail(self, error: Exception) -> None:
        """Tell who waits that the commit failed, unless the update itself did."""
        self._future.set_exception(self._error or error)

    def result(self) -> Any:
        """Wait for the outcome. Raises what the update raised, or why it could not be committed."""
        return self._future.result()
