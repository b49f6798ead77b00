"""What a shim or a runc that was killed may leave: commands that run on, half of runc's state, cgroups."""

import os
import shutil
import signal
import sys
import time
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

# ruff: noqa: E402  (what is imported below exists on Linux only)
assert sys.platform != "win32"

from .shim.membership import directories

END_MAX = 2.0
"""Seconds that killed processes have to go."""


def end_commands(bundle: str) -> None:
    """Kill the runc commands that a shim has started for a bundle, each known by its log there, and wait for their end.

    A shim that is killed takes none of them with it, and one that creates the container would go on to do so.
    """
    found = [pid for pid in _pids() if _works_for(pid, f"{bundle}/runc-")]
    for pid in found:
        _kill(pid)
    end = time.monotonic() + END_MAX
    while any(_runs(pid) for pid in found) and time.monotonic() < end:
        time.sleep(0.005)


def sweep(id: str, root: str, spec: Mapping[str, Any]) -> None:
    """Remove runc's folder and the cgroups of a container that is deleted; kills what is still in them.

    A runc that is killed while it creates leaves both, and no state by which it could delete them.
    """
    linux = spec.get("linux")
    path = str(linux.get("cgroupsPath") or "") if isinstance(linux, dict) else ""
    if path.startswith("/") and path.strip("/"):
        for directory in directories(path):
            _remove_cgroup(Path(directory))
    if id and os.path.isdir(os.path.join(root, id)):
        shutil.rmtree(os.path.join(root, id), ignore_errors=True)


def _remove_cgroup(directory: Path) -> None:
    end = time.monotonic() + END_MAX
    while directory.is_dir():
        try:
            return directory.rmdir()
        except OSError:
            if time.monotonic() > end:
                return None
        for pid in _members(directory):
            _kill(pid)
        time.sleep(0.005)
    return None


def _members(directory: Path) -> list[int]:
    try:
        return [int(word) for word in (directory / "cgroup.procs").read_text().split()]
    except OSError:
        return []


def _pids() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def _works_for(pid: int, prefix: str) -> bool:
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return False
    return any(flag == b"--log" and log.startswith(prefix.encode()) for flag, log in pairwise(words))


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
