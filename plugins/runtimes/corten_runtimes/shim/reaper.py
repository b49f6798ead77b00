"""Exit statuses of every process below the shim, also of those that end before the shim knows their pid.

`runc create` and `runc exec` tell the pid of what they started in a file, and in a few of a hundred cases the process
has ended before that file is read. While such a command is under way, statuses of unknown pids are stashed.
"""

import os
import sys
import time
from typing import Any, NamedTuple

# ruff: noqa: E402  (what is imported below exists on Linux only)
assert sys.platform != "win32"

from .keeper import EXIT
from .loop import Later


class Ended(NamedTuple):
    """How a process ended: its status (128 + n for signal n) and when, in ns since the epoch."""

    status: int
    at: int


class Reaper:
    """The parent's duties. `collect` is to be called after every SIGCHLD."""

    def __init__(self) -> None:
        self._expected: dict[int, Later[Ended]] = {}
        self._stash: dict[int, Ended] = {}
        self._births = 0
        self._exits = -1

    def kept(self) -> Any:
        """What `take_up` needs; nothing is being born."""
        return self._expected, self._exits

    def take_up(self, state: Any) -> None:
        """Go on with what another worker had."""
        self._expected, self._exits = state

    def begin_birth(self) -> None:
        """A command that starts a process of unknown pid is about to run: keep statuses of unknown pids."""
        self._births += 1

    def end_birth(self) -> None:
        """The pid was asked for with `expect`, or there is none."""
        self._births -= 1
        if not self._births:
            self._stash.clear()

    def expect(self, pid: int) -> Later[Ended]:
        """How the process `pid` ends, or has ended."""
        later = self._expected.get(pid)
        if later is None:
            later = self._expected[pid] = Later()
            ended = self._stash.pop(pid, None)
            if ended is not None:
                self._tell(pid, ended)
        return later

    def collect(self) -> None:
        """Reap all that has ended."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if not pid:
                return
            self._tell(pid, Ended(exit_status(status), time.time_ns()))

    def read_exits(self, exits: int) -> None:
        """From now on read the keeper's pipe when told to (`told`)."""
        self._exits = exits

    def told(self, events: int) -> None:
        """Know what the keeper has reaped by now."""
        try:
            exits = os.read(self._exits, 256 * EXIT.size) if self._exits >= 0 else b""
        except BlockingIOError:
            return
        for pid, status, at in EXIT.iter_unpack(exits):
            self._tell(pid, Ended(exit_status(status), at))

    def _tell(self, pid: int, ended: Ended) -> None:
        later = self._expected.pop(pid, None)
        if later is not None:
            later.set(ended)
        elif self._births:
            self._stash[pid] = ended


def exit_status(wait_status: int) -> int:
    """What a shell would show as `$?` for a status of waitpid(2)."""
    code = os.waitstatus_to_exitcode(wait_status)
    return code if code >= 0 else 128 - code
