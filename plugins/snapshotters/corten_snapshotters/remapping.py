"""Whether snapshots can have mapped ids here: found out once, in a worker, since it takes a fork and a namespace."""

import sys
from collections.abc import Callable, Sequence
from threading import Lock

from corten.contracts.workers import Workers
from corten.errors import CortenError
from corten.linux import idmaps

assert sys.platform != "win32"

TIMEOUT = 30.0
"""Seconds that the worker may take."""


def check(payload: bytes, fds: Sequence[int]) -> bytes:
    """In the worker: why the file system of the directory `payload` has no id-mapped mounts; nothing if it has."""
    return idmaps.supported(payload.decode()).encode()


class Remapping:
    """Of one file system; any thread may call."""

    def __init__(self, workers: Callable[[], Workers], directory: str) -> None:
        self._workers = workers
        self._directory = directory
        self._lock = Lock()
        self._reason: str | None = None

    def unsupported(self) -> str:
        """Why ids cannot be mapped; empty if they can. The first call takes some milliseconds."""
        with self._lock:
            if self._reason is None:
                try:
                    worker = self._workers().start("corten_snapshotters.remapping:check", self._directory.encode())
                    self._reason = worker.result(TIMEOUT).decode()
                except CortenError as error:
                    return error.message
            return self._reason
