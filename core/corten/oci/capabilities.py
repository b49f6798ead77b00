"""Capability sets by name: the kernel's list, and a default set with additions and removals."""

from collections.abc import Iterable, Sequence

from corten.errors import InvalidArgument

ALL = tuple(
    f"CAP_{name}"
    for name in [
        "CHOWN",
        "DAC_OVERRIDE",
        "DAC_READ_SEARCH",
        "FOWNER",
        "FSETID",
        "KILL",
        "SETGID",
        "SETUID",
        "SETPCAP",
        "LINUX_IMMUTABLE",
        "NET_BIND_SERVICE",
        "NET_BROADCAST",
        "NET_ADMIN",
        "NET_RAW",
        "IPC_LOCK",
        "IPC_OWNER",
        "SYS_MODULE",
        "SYS_RAWIO",
        "SYS_CHROOT",
        "SYS_PTRACE",
        "SYS_PACCT",
        "SYS_ADMIN",
        "SYS_BOOT",
        "SYS_NICE",
        "SYS_RESOURCE",
        "SYS_TIME",
        "SYS_TTY_CONFIG",
        "MKNOD",
        "LEASE",
        "AUDIT_WRITE",
        "AUDIT_CONTROL",
        "SETFCAP",
        "MAC_OVERRIDE",
        "MAC_ADMIN",
        "SYSLOG",
        "WAKE_ALARM",
        "BLOCK_SUSPEND",
        "AUDIT_READ",
        "PERFMON",
        "BPF",
        "CHECKPOINT_RESTORE",
    ]
)
"""By their numbers, 0 upwards: linux/capability.h."""


def edited(base: Sequence[str], add: Iterable[str], drop: Iterable[str]) -> tuple[str, ...]:
    """`base` without `drop`, then with `add`, in the kernel's order. Raises InvalidArgument for an unknown name."""
    left = set(base) - _expand(drop)
    return tuple(sorted(left | _expand(add), key=ALL.index))


def held(mask: int) -> tuple[str, ...]:
    """The names in a bit mask such as `CapBnd` in /proc/PID/status (proc(5))."""
    return tuple(name for bit, name in enumerate(ALL) if mask >> bit & 1)


def _expand(names: Iterable[str]) -> set[str]:
    found: set[str] = set()
    for name in names:
        full = name.upper() if name.upper().startswith("CAP_") else f"CAP_{name.upper()}"
        found |= set(ALL) if full == "CAP_ALL" else {_known(full, name)}
    return found


def _known(full: str, given: str) -> str:
    if full not in ALL:
        raise InvalidArgument(f"capability {given!r}: there is no such capability (see capabilities(7))")
    return full
