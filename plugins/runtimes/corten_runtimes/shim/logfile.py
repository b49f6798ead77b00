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
from typing import Any, Protocol

from corten.errors import FailedPrecondition, mapped

# ruff: noqa: E402  (what is imported below exists on Linux only)
assert sys.platform != "win32"

from .attached import CHUNK
from .lines import Lines, Raw, stamp

STALL_MAX = 10.0
"""Seconds that output waits for a log that cannot be written."""
RETRY_EVERY = 0.2
_FLAGS = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


class Clock(Protocol):
    """The part of `Loop` that a log wants: to be called after some seconds."""

    def after(self, seconds: float, call: Callable[[], None], /) -> Any: ...


class LogFile:
    """One open log; its folder must be there. `freed` is called when it can be written again, or waiting is over.

    One that is `plain` is no log of the kubelet's: mode 0644 in place of 0640, and it may be a link.
    """

    def __init__(self, loop: Clock, path: str, freed: Callable[[], None], *, plain: bool = False) -> None:
        self._loop, self._path, self._freed, self._plain = loop, path, freed, plain
        self._fd = open_log(path, plain)
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

    def carry(self, source: int, there: bool, lines: Lines | Raw, carried: Callable[[bytes | None], None]) -> None:
        """Append a piece of output as `lines` make it, and tell `carried` what it was, as `piece` has it."""
        data = piece(source, there)
        if data:
            self.write(lines.feed(data))
        carried(data)

    def reopen(self) -> None:
        """Go on in the file that is, or is then made, under the path. On an error the old one stays in use."""
        self.take(open_log(self._path, self._plain))

    def take(self, fd: int) -> None:
        """Go on in a file that is open already."""
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
        """Take back the part of a line that ends a write cut short, so that readers never see half of one."""
        whole = lines.rfind(b"\n", 0, written) + 1
        if self._plain and not whole:
            return written  # not made of lines
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
        head = b"" if self._plain else stamp() + b" stderr F "
        words = f"[corten: {self._lost} bytes of this log were lost here: {self._why}]\n"
        if self._append(head + words.encode()):
            return False
        self._lost = 0
        return True


def piece(source: int, there: bool) -> bytes | None:
    """Some output of a non-blocking descriptor: None for now, empty at its end. `there`: poll(2) said there is some."""
    try:
        return os.read(source, CHUNK)
    except BlockingIOError:
        return None if there else b""
    except OSError:  # EIO is how a terminal ends
        return b""


def open_log(path: str, plain: bool) -> int:
    """Open a regular file or a device; whatever else lies there is not followed, and not waited for."""
    flags, permissions = (_FLAGS & ~os.O_NOFOLLOW, 0o644) if plain else (_FLAGS, 0o640)
    with mapped(f"open container log {path}"):
        fd = os.open(path, flags, permissions)
    mode = os.fstat(fd).st_mode
    if not (stat.S_ISREG(mode) or stat.S_ISCHR(mode)):
        os.close(fd)
        raise FailedPrecondition(f"open container log {path}: it is not a regular file (remove it)")
    return fd
