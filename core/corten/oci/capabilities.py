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
_EVERY = "CAP_ALL"


def edited(base: Sequence[str], add: Iterable[str], drop: Iterable[str]) -> tuple[str, ...]:
    """`base` with and without those named, in the kernel's order. Raises InvalidArgument for an unknown name.

    As in containerd and the CRI: `ALL` first, dropping before adding, so that single names make exceptions to it; then
    single names, of which a dropped one is gone even if it was also added.
    """
    adds, drops = [_full(name) for name in add], [_full(name) for name in drop]
    kept = set(ALL) if _EVERY in adds else set(base)
    if _EVERY in drops:
        kept = set()
    kept |= {name for name in adds if name != _EVERY}
    kept -= {name for name in drops if name != _EVERY}
    return tuple(sorted(kept, key=ALL.index))


def held(mask: int) -> tuple[str, ...]:
    """The names in a bit mask such as `CapBnd` in /proc/PID/status (proc(5))."""
    return tuple(name for bit, name in enumerate(ALL) if mask >> bit & 1)


def of_this_process() -> tuple[str, ...]:
    """Those in this process's bounding set, the most that its containers can have. Empty where /proc is not."""
    try:
        with open("/proc/self/status") as status:
            mask = next((line.split()[1] for line in status if line.startswith("CapBnd:")), "")
    except OSError:
        return ()
    return held(int(mask, 16)) if mask else ()


def _full(name: str) -> str:
    full = name.upper() if name.upper().startswith("CAP_") else f"CAP_{name.upper()}"
    if full != _EVERY and full not in ALL:
        raise InvalidArgument(f"capability {name!r}: there is no such capability (see capabilities(7))")
    return full
