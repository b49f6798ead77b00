"""Processes found by what they have to do with a folder (proc(5)), and ended without hitting another of their pid."""

import os
import signal
import time
from collections.abc import Iterator

from corten.values import dataclass


@dataclass(frozen=True, slots=True)
class Process:
    """`started` in ticks since boot names it for good together with the pid."""

    pid: int
    started: int
    command: str
    parent: int = 0


def all_processes() -> Iterator[Process]:
    """Those that can be seen; kernel threads and what ends meanwhile are left out."""
    for entry in os.listdir("/proc"):
        if entry.isdigit() and (found := of(int(entry))) is not None:
            yield found


def of(pid: int) -> Process | None:
    """The process with this pid; None if there is none, or only its remains."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            command = file.read().replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        return None
    return None if fields[0] in (b"Z", b"X") or not command else Process(pid, int(fields[19]), command, int(fields[1]))


def in_folder(folder: str) -> Iterator[Process]:
    """Those whose working directory is `folder` or below it, also when it was removed under them."""
    for process in all_processes():
        try:
            directory = os.readlink(f"/proc/{process.pid}/cwd").removesuffix(" (deleted)")
        except OSError:
            continue
        if directory == folder or directory.startswith(f"{folder}/"):
            yield process


def kill(process: Process, timeout: float = 5.0) -> bool:
    """End it by SIGKILL and wait until it has; False if it has not in `timeout` seconds. Blocks."""
    deadline = time.monotonic() + timeout
    while (there := of(process.pid)) is not None and there.started == process.started:
        try:
            os.kill(process.pid, getattr(signal, "SIGKILL", signal.SIGTERM))
        except ProcessLookupError:
            return True
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True
