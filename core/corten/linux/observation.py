"""Processes as /proc shows them (proc(5)): who they are and what they use."""

import os
import sys
from pathlib import Path

from corten.values import dataclass

_COMMAND_MAX = 4096


@dataclass(frozen=True, slots=True)
class Observed:
    """A process at one moment. `memory`: resident bytes; `started`: seconds since the epoch."""

    pid: int
    parent: int
    uid: int
    state: str
    cpu_seconds: float
    memory: int
    started: float
    command: str


def observe(pid: int, proc: str = "/proc") -> Observed | None:
    """None for a process that is gone."""
    folder = Path(proc, str(pid))
    try:
        stat = (folder / "stat").read_text(errors="replace")
        uid = folder.stat().st_uid
        words = _arguments(folder)
    except (FileNotFoundError, ProcessLookupError):
        return None
    name, _, rest = stat.partition("(")[2].rpartition(")")
    fields = rest.split()  # from the third field of the manual on
    ticks, page = _units()
    return Observed(
        pid=pid,
        parent=int(fields[1]),
        uid=uid,
        state=fields[0],
        cpu_seconds=(int(fields[11]) + int(fields[12])) / ticks,
        memory=int(fields[21]) * page,
        started=_booted(proc) + int(fields[19]) / ticks,
        command=words or f"[{name}]",
    )


def _units() -> tuple[int, int]:
    """Ticks a second, and bytes of a page."""
    if sys.platform == "win32":
        return 100, 4096
    return os.sysconf("SC_CLK_TCK"), os.sysconf("SC_PAGE_SIZE")


def _arguments(folder: Path) -> str:
    with open(folder / "cmdline", "rb") as file:
        return file.read(_COMMAND_MAX).rstrip(b"\0").replace(b"\0", b" ").decode(errors="replace")


def _booted(proc: str) -> float:
    lines = Path(proc, "stat").read_text().splitlines()
    return float(next(line.split()[1] for line in lines if line.startswith("btime ")))
