"""Contract of worker processes: jobs in a process of their own, forked from the zygote in a millisecond.

Terms. A *worker* is for work on hostile bytes (unpacking) or work that would hold the GIL: it runs one function in a
child that may chroot and drop what it likes, and dies with the daemon. A *detached* process (a shim) has a session of
its own and outlives daemon and zygote. Neither may rely on threads or on anything of the daemon's.

    worker = workers.start("corten_differs.unpack:run", payload, fds=[layer, target])
    answer = worker.result(timeout=60)
"""

from collections.abc import Mapping, Sequence
from typing import Protocol


class Worker(Protocol):
    """A job under way."""

    @property
    def pid(self) -> int: ...
    def result(self, timeout: float | None = None) -> bytes:
        """Wait up to `timeout` seconds for what the target returned; may be asked again.

        Raises what the target raised (a CortenError; other exceptions as the class they map to, or Internal),
        DeadlineExceeded, or Internal with the signal or status if the process died.
        """
        ...

    def kill(self) -> None:
        """End it now; `result` then raises. Harmless if it has ended."""
        ...


class Workers(Protocol):
    """Any thread may call; calls block for about a millisecond."""

    def start(self, target: str, payload: bytes, fds: Sequence[int] = ()) -> Worker:
        """Run `module:function` as `function(payload, fds) -> bytes` in a new process.

        `fds` are duplicated into it, under other numbers; at most 249. The process is killed when the daemon ends.
        Raises Unavailable when no process can be made.
        """
        ...

    def detach(self, target: str, payload: bytes, fds: Sequence[int] = (), timeout: float = 10.0) -> tuple[int, bytes]:
        """Run `function(payload, fds, ready)` in a process that outlives this one; returns its pid and its answer.

        The target calls `ready(answer: bytes)` once, when it can be relied on, and goes on. Its standard streams are
        /dev/null. Raises what it raised before that, DeadlineExceeded after `timeout` seconds (it is killed then), or
        Unavailable.
        """
        ...

    def ahead(self, target: str) -> None:
        """Fork what the next `detach` of this target, without descriptors, will be: that then takes less time.

        One at a time waits for each target; it ends with the daemon, whatever way that ends. Raises Unavailable.
        """
        ...

    def preload_failures(self) -> Mapping[str, str]:
        """Module to traceback for each preloaded module that could not be imported. Waits until all were tried."""
        ...
