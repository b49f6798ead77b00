"""What a whole pod uses: read from the cgroup that the kubelet made for it, in either version. Blocks briefly."""

import os
import time
from pathlib import Path

from corten.errors import CortenError
from corten.linux.cgroups import ROOT, Mode, mode
from corten.oci import cgroup_paths

from .figures import UNLIMITED, Cpu, Figures, Memory


def folder(parent: str) -> str:
    """Where a cgroup parent is below each hierarchy; empty for none. Slices of systemd nest by their names."""
    name = os.path.basename(parent.rstrip("/"))
    try:
        return (
            cgroup_paths.expanded(name) if name.endswith(".slice") else os.path.normpath(f"/{parent}") if name else ""
        )
    except CortenError:
        return ""


def read(parent: str, root: str = ROOT) -> Figures | None:
    """None if there is no such cgroup, or the pod has none of its own."""
    path = folder(parent)
    if not path or path == "/" or ".." in path.split("/"):
        return None
    kind = mode(root)
    try:
        return _v2(Path(f"{root}{path}")) if kind is Mode.UNIFIED else _v1(Path(root), path)
    except (OSError, ValueError):
        return None


def _v2(base: Path) -> Figures:
    cpu, memory = _table(base / "cpu.stat"), _table(base / "memory.stat")
    return Figures(
        at=time.time_ns(),
        cpu=Cpu(cpu["usage_usec"] * 1000, cpu.get("user_usec", 0) * 1000, cpu.get("system_usec", 0) * 1000),
        memory=Memory(
            usage=_number(base / "memory.current"),
            limit=_number(base / "memory.max"),
            rss=memory.get("anon", 0),
            inactive_file=memory.get("inactive_file", 0),
            faults=memory.get("pgfault", 0),
            major_faults=memory.get("pgmajfault", 0),
        ),
    )


def _v1(root: Path, path: str) -> Figures:
    cpu, memory = root / f"cpuacct{path}", root / f"memory{path}"
    stat = _table(memory / "memory.stat")
    return Figures(
        at=time.time_ns(),
        cpu=Cpu(_number(cpu / "cpuacct.usage")),
        memory=Memory(
            usage=_number(memory / "memory.usage_in_bytes"),
            limit=_number(memory / "memory.limit_in_bytes"),
            rss=stat.get("total_rss", 0),
            inactive_file=stat.get("total_inactive_file", 0),
            faults=stat.get("total_pgfault", 0),
            major_faults=stat.get("total_pgmajfault", 0),
        ),
    )


def _table(path: Path) -> dict[str, int]:
    words = (line.split() for line in path.read_text().splitlines())
    return {each[0]: int(each[1]) for each in words if len(each) == 2}


def _number(path: Path) -> int:
    text = path.read_text().strip()
    number = 0 if text == "max" else int(text)
    return 0 if number > UNLIMITED else number
