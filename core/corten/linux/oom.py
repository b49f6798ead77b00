"""The badness score by which the kernel chooses whom to kill, within what this process may set (proc(5))."""

from pathlib import Path

LOWEST, HIGHEST = -1000, 1000
_SYS_RESOURCE = 24


def clamped(wanted: int, own: str = "/proc/self") -> int:
    """`wanted`, raised to the lowest score that this process's children may be given, and within the kernel's range."""
    return max(min(wanted, HIGHEST), lowest(own))


def lowest(own: str = "/proc/self") -> int:
    """Without CAP_SYS_RESOURCE in the first user namespace a score cannot be lowered; ours is taken for the bound."""
    folder = Path(own)
    try:
        status = (folder / "status").read_text()
        effective = next((line.split()[1] for line in status.splitlines() if line.startswith("CapEff:")), "0")
        if int(effective, 16) >> _SYS_RESOURCE & 1 and _has_all_ids(folder):
            return LOWEST
        return int((folder / "oom_score_adj").read_text())
    except OSError:
        return LOWEST


def _has_all_ids(folder: Path) -> bool:
    """True in the first user namespace, where every id is itself."""
    try:
        return (folder / "uid_map").read_text().split() == ["0", "0", str(2**32 - 1)]
    except OSError:
        return True
