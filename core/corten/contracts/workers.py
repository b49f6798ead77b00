"""Contract of worker processes: short jobs in a process of their own, forked from the zygote in a millisecond.

For work on hostile bytes (unpacking) or work that would hold the GIL. The target runs in a child that may chroot and
drop what it likes; it must not rely on threads or on anything of the daemon's.
"""

from collections.abc import Sequence
from typing import Protocol


class Worker(Protocol):
    """A job under way."""

    @property
    def pid(self) -> int: ...
    def result(self, timeout: float | None = None) -> bytes:
        """Wait for what the target returned. Raises what it raised (a CortenError), DeadlineExceeded, or Internal with
        the signal or status if the process died."""
        ...

    def kill(self) -> None:
        """End it now; `result` then raises. Harmless if it has ended."""
        ...


class Workers(Protocol):
    """Any thread may call; calls block for about a millisecond."""

    def start(self, target: str, payload: bytes, fds: Sequence[int] = ()) -> Worker:
        """Run `module:function` as `function(payload, fds) -> bytes` in a new process.

        `fds` are duplicated into it. Raises Unavailable when no process can be made.
        """
        ...
