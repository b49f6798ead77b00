"""One process of a container, init or exec, and the states it goes through."""

import sys
from collections.abc import Mapping

from corten.errors import CortenError, FailedPrecondition, NotFound

# ruff: noqa: E402  (what is imported below exists on Linux only)
assert sys.platform != "win32"

from .loop import Later, Turn
from .reaper import Ended
from .streams import Stdio, Streams

CREATED, RUNNING, PAUSED, PAUSING, STOPPED, DELETED = "created", "running", "paused", "pausing", "stopped", "deleted"

ALLOWED: Mapping[str, frozenset[str]] = {
    "start": frozenset({CREATED}),
    "pause": frozenset({RUNNING}),
    "resume": frozenset({PAUSED}),
    "exec": frozenset({CREATED, RUNNING}),
    "delete": frozenset({CREATED, STOPPED}),
    "update": frozenset({CREATED, RUNNING, PAUSED}),
    "checkpoint": frozenset({RUNNING, PAUSED}),
    "kill": frozenset({CREATED, RUNNING, PAUSED, PAUSING}),
}
"""Which operation is allowed in which states."""


class Process:
    """State of one process. `exited` is told to the world: it is set after the events that go before it."""

    def __init__(self, container: str, id: str, stdio: Stdio) -> None:
        self.container, self.id, self.stdio = container, id, stdio
        self.status = CREATED
        self.pid = 0
        self.turn = Turn()
        self.streams: Streams | None = None
        self.outcome: Ended | None = None
        self.reaped: Later[Ended] = Later()
        self.exited: Later[Ended] = Later()
        self.stdin_over = False
        """CloseIO came before its streams were there."""
        self.in_transit = False
        """Being created or started: its exit is announced only when that is done."""

    def __repr__(self) -> str:
        return f"Process({self.name}, pid={self.pid}, {self.status})"

    @property
    def name(self) -> str:
        """For messages."""
        return f"exec {self.id!r} of task {self.container!r}" if self.id else f"task {self.container!r}"

    def require(self, operation: str) -> None:
        """Raises FailedPrecondition (NotFound for a kill) unless the state allows the operation."""
        if self.status in ALLOWED[operation]:
            return
        kind: type[CortenError] = FailedPrecondition
        message = f"{self.name}: cannot {operation}: it is {self.status}"
        if self.status == DELETED:
            kind, message = NotFound, f"{self.name}: does not exist"
        elif operation == "kill":
            kind, message = NotFound, f"{self.name}: cannot kill: process already finished"
        raise kind(message)

    def close_streams(self) -> None:
        """Let go of its stdio, whatever is on the way."""
        if self.streams is not None:
            self.streams.close()
