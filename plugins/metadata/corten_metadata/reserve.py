"""Room for deletions on a full disk: blocks behind the end of the database, allocated before they are needed.

LMDB copies each page it changes, so that even a deletion needs new pages, and on a full disk nothing could be removed
any more. Ordinary updates must leave `SIZE` bytes of allocated blocks; updates that remove things may use them. The
blocks belong to the file already, so that nobody else can take them.
"""

import errno
import logging
import os
import sys
from pathlib import Path

log = logging.getLogger(__name__)

SIZE = 4 << 20
"""Bytes kept for deletions."""
STEP = 1 << 20
"""Bytes allocated ahead of need, to call the kernel seldom."""


class Reserve:
    """Of one database file; used by the writer thread only."""

    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_RDWR | getattr(os, "O_CLOEXEC", 0))
        self._allocated = 0
        self._usable = sys.platform != "win32" and hasattr(os, "posix_fallocate")

    def __repr__(self) -> str:
        return f"Reserve(allocated={self._allocated})"

    def covers(self, used: int) -> bool:
        """Whether `SIZE` bytes behind the first `used` ones have blocks, after an attempt to allocate them."""
        if not self._usable or used + SIZE <= self._allocated:
            return True
        return self._allocate(used + SIZE + STEP) or self._allocate(used + SIZE)

    def close(self) -> None:
        os.close(self._fd)

    def _allocate(self, size: int) -> bool:
        if sys.platform == "win32":
            return True
        try:
            os.posix_fallocate(self._fd, 0, size)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                return False
            log.warning("metadata: no reserve for a full disk: allocating %d bytes failed: %s", size, error)
            self._usable = False
            return True
        self._allocated = size
        return True
