"""Which blobs this process made a short while ago, so that nobody need read them again to know their digests."""

import os
import time
from collections import OrderedDict
from threading import Lock

KEPT = 600.0
"""Seconds for which a blob counts as just made: what lies on a disk for longer is looked at again."""
MOST = 1024
"""Blobs that are remembered, the newest ones."""


class Recent:
    """A blob is known by its file's number, size and time of change, which any write or exchange alters."""

    def __init__(self) -> None:
        self._made: OrderedDict[str, tuple[float, tuple[int, int, int]]] = OrderedDict()
        self._lock = Lock()

    def made(self, digest: str, found: os.stat_result) -> None:
        """The file's bytes were found to have the digest."""
        with self._lock:
            self._made[digest] = (time.monotonic(), _mark(found))
            self._made.move_to_end(digest)
            if len(self._made) > MOST:
                self._made.popitem(last=False)

    def knows(self, digest: str, found: os.stat_result) -> bool:
        """Whether that was a short while ago, and the file is still as it was."""
        with self._lock:
            since, mark = self._made.get(digest, (-KEPT, None))
        return mark == _mark(found) and time.monotonic() < since + KEPT


def _mark(found: os.stat_result) -> tuple[int, int, int]:
    return found.st_ino, found.st_size, found.st_ctime_ns
