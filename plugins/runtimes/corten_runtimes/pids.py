"""Processes that another process has recorded: a pid with the time of its start names one for good."""

import os
import signal
import sys
from pathlib import Path

assert sys.platform != "win32"


def started(pid: int) -> int:
    """When a process was started, in ticks since boot (proc(5), stat field 22); 0 if there is none."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
    except (OSError, IndexError):
        return 0


def runs(pid: int, start: int) -> bool:
    """Whether the process of that pid and start is there."""
    return bool(pid and start) and started(pid) == start


def kill(pid: int, start: int) -> None:
    """End the process of that pid and start, if it is there."""
    if runs(pid, start):
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
