"""A log file that is appended to by whole lines, may be reopened under its path, and outlasts a full disk.

When it cannot be written, whoever writes is to wait (`full`), as a container does whose log has no room: at most
`STALL_MAX` seconds. After that what comes is dropped and counted, the container runs on, and the first line that can
be written again says in the log how much of it was lost and why.
"""

import errno
import os
import stat
import sys
import time
from collections.abc import Callable

from corten.errors import FailedPrecondition, mapped

# ruff: noqa: E402  (what is imported below exists on Linux only)
assert sys.platform != "win32"

from .lines import stamp
from .loop import Loop

MODE = 0o640
STALL_MAX = 10.0
"""Seconds that output waits for a log that cannot be written."""
RETRY_EVERY = 0.2
_FLAGS = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


class LogFile:
    """One open log; its folder must be there. `freed` is called when it can be written again, or waiting is over."""

    def __init__(self, loop: Loop, path: str, freed: Callable[[], None]) -> None:
        self._loop, self._path, self._freed = loop, path, freed
        self._fd = _open(path)
        self._pending = b""
        self._stalled = 0.0
        self._lost = 0
        self._why = ""

    @property
    def full(self) -> bool:
        """Whether what was written last still waits."""
        return bool(self._pending)

    def write(self, lines: bytes) -> None:
        """Append whole lines; what cannot be written now is kept."""
        if self._lost and not self._tell_loss():
            self._lost += len(lines)
        elif self._pending:
            self._pending += lines
        elif lines:
            self._pending = self._append(lines)
            if self._pending:
                self._stalled = time.monotonic()
                self._loop.after(RETRY_EVERY, self._retry)

    def reopen(self) -> None:
        """Go on in the file that is, or is then made, under the path. On an error the old one stays in use."""
        fd = _open(self._path)
        os.close(self._fd)
        self._fd = fd

    def close(self) -> None:
        """Close it; what still waits is lost."""
        if self._fd >= 0:
            if self._lost:
                self._tell_loss()
            os.close(self._fd)
            self._fd = -1

    def _append(self, lines: bytes) -> bytes:
        """Write as many of the lines as there is room for; returns the others."""
        while lines:
            try:
                written = os.write(self._fd, lines)
            except OSError as error:
                self._why = error.strerror or str(error)
                return lines
            if written < len(lines):
                written = self._whole_lines(lines, written)
                if not written:
                    self._why = os.strerror(errno.ENOSPC)
                    return lines
            lines = lines[written:]
        return b""

    def _whole_lines(self, lines: bytes, written: int) -> int:
        """Take back the part of a line that ends a write cut short, so that readers never see half a line."""
        whole = lines.rfind(b"\n", 0, written) + 1
        try:
            os.ftruncate(self._fd, os.lseek(self._fd, 0, os.SEEK_END) - (written - whole))
        except OSError:  # a device
            return written
        return whole

    def _retry(self) -> None:
        if self._fd < 0 or not self._pending:
            return
        self._pending = self._append(self._pending)
        if self._pending and time.monotonic() - self._stalled > STALL_MAX:
            self._lost += len(self._pending)
            self._pending = b""
        if self._pending:
            self._loop.after(RETRY_EVERY, self._retry)
        else:
            self._freed()

    def _tell_loss(self) -> bool:
        """Say in the log what is missing there; False if there is still no room for that."""
        words = f" stderr F [corten: {self._lost} bytes of this log were lost here: {self._why}]\n"
        if self._append(stamp() + words.encode()):
            return False
        self._lost = 0
        return True


def _open(path: str) -> int:
    """Open a regular file or a device; whatever else lies there is not followed, and not waited for."""
    with mapped(f"open container log {path}"):
        fd = os.open(path, _FLAGS, MODE)
    mode = os.fstat(fd).st_mode
    if not (stat.S_ISREG(mode) or stat.S_ISCHR(mode)):
        os.close(fd)
        raise FailedPrecondition(f"open container log {path}: it is not a regular file (remove it)")
    return fd
