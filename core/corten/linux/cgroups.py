"""Which cgroups this host has: version 1, 2, or both, and which controllers; read from a tree that a test can make.

Converting limits between the versions is the runtime's business (runc does it).
"""

import enum
import os
from pathlib import Path

ROOT = "/sys/fs/cgroup"
SELF = "/proc/self/cgroup"


class Mode(enum.Enum):
    """How the hierarchies are mounted."""

    NONE = "none"
    LEGACY = "v1"
    HYBRID = "hybrid"
    """Controllers in version 1, a tree of version 2 without controllers beside them."""
    UNIFIED = "v2"


def mode(root: str = ROOT) -> Mode:
    """Told by the files that only version 2 has."""
    base = Path(root)
    if (base / "cgroup.controllers").exists():
        return Mode.UNIFIED
    if (base / "unified/cgroup.controllers").exists():
        return Mode.HYBRID
    return Mode.LEGACY if _named_hierarchies(base) else Mode.NONE


def controllers(root: str = ROOT) -> frozenset[str]:
    """Those that can be used: of version 2, or mounted in version 1."""
    base = Path(root)
    if mode(root) is Mode.UNIFIED:
        return frozenset((base / "cgroup.controllers").read_text().split())
    return _named_hierarchies(base)


def has_swap(root: str = ROOT, own: str = SELF) -> bool:
    """Whether memory and swap can be limited together. Version 2's root has no such file, so ours is looked at."""
    if mode(root) is Mode.UNIFIED:
        return os.path.exists(f"{root}{_unified_path(own)}/memory.swap.max")
    return os.path.exists(f"{root}/memory/memory.memsw.limit_in_bytes")


def has_hugepages(root: str = ROOT) -> bool:
    """Whether the controller for huge pages is there."""
    return "hugetlb" in controllers(root)


def _named_hierarchies(base: Path) -> frozenset[str]:
    """Directories are named by their controllers (`cpu,cpuacct`), with a link for each of several."""
    try:
        found = [entry.name for entry in os.scandir(base) if entry.is_dir()]
    except OSError:
        return frozenset()
    names = {name for entry in found for name in entry.split(",")}
    return frozenset(names - {"unified", "systemd"})


def _unified_path(own: str) -> str:
    with open(own) as file:
        lines = [line.rstrip("\n") for line in file]
    path = next((line.removeprefix("0::") for line in lines if line.startswith("0::")), "/")
    return "" if path == "/" else path
