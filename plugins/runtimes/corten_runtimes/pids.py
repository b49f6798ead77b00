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
    """End the shim of that pid and start, if it is there, and its worker, which would see its end a little later."""
    if runs(pid, start):
        for each in (pid, *_workers(pid)):
            try:
                os.kill(each, signal.SIGKILL)
            except ProcessLookupError:
                pass


def _workers(pid: int) -> list[int]:
    """Children of the same name; the others are the containers' processes."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return [int(child) for child in children if _name(child) == _name(pid)]
    except OSError:
        return []


def _name(pid: int | str) -> str:
    return Path(f"/proc/{pid}/comm").read_text()
