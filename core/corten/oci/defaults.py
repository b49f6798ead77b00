"""What a Linux container gets when nobody asks for anything else: containerd's default spec, piece by piece.

Everything is a tuple or made anew by a function, so that no two specs can share a mutable part.
"""

from collections.abc import Sequence
from typing import Any

OCI_VERSION = "1.0.2-dev"
"""What runc 1.0 and later accept; a newer number is refused by older ones."""

PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

CAPABILITIES = (
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FSETID",
    "CAP_FOWNER",
    "CAP_MKNOD",
    "CAP_NET_RAW",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETFCAP",
    "CAP_SETPCAP",
    "CAP_NET_BIND_SERVICE",
    "CAP_SYS_CHROOT",
    "CAP_KILL",
    "CAP_AUDIT_WRITE",
)

NAMESPACES = ("pid", "ipc", "uts", "mount", "network")

MASKED_PATHS = (
    "/proc/acpi",
    "/proc/asound",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
    "/proc/scsi",
)

READONLY_PATHS = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")

CPU_SHARES = 1024
CPU_PERIOD = 100_000
"""Microseconds of one period of the CFS quota."""

NOFILE = 1024
"""Open files, soft and hard: below what any daemon may have, so that runc never has to raise a limit."""

_MOUNTS = (
    ("/proc", "proc", "proc", "nosuid noexec nodev"),
    ("/dev", "tmpfs", "tmpfs", "nosuid strictatime mode=755 size=65536k"),
    ("/dev/pts", "devpts", "devpts", "nosuid noexec newinstance ptmxmode=0666 mode=0620 gid=5"),
    ("/dev/shm", "tmpfs", "shm", "nosuid noexec nodev mode=1777 size=65536k"),
    ("/dev/mqueue", "mqueue", "mqueue", "nosuid noexec nodev"),
    ("/sys", "sysfs", "sysfs", "nosuid noexec nodev ro"),
    ("/run", "tmpfs", "tmpfs", "nosuid strictatime mode=755 size=65536k"),
)

# null, random, full, tty, zero, urandom, console, slaves of devpts, ptmx: linux/Documentation/admin-guide/devices.txt
_CHARACTER_DEVICES: Sequence[tuple[int, int | None]] = (
    (1, 3), (1, 8), (1, 7), (5, 0), (1, 5), (1, 9), (5, 1), (136, None), (5, 2),
)  # fmt: skip


def document(namespace: str, id: str) -> dict[str, Any]:
    """The whole spec, but for what only an image or a person can say: arguments, environment."""
    return {
        "ociVersion": OCI_VERSION,
        "process": {
            "user": {"uid": 0, "gid": 0},
            "cwd": "/",
            "capabilities": {kind: list(CAPABILITIES) for kind in ("bounding", "effective", "permitted")},
            "rlimits": [{"type": "RLIMIT_NOFILE", "hard": NOFILE, "soft": NOFILE}],
            "noNewPrivileges": True,
        },
        "root": {"path": "rootfs"},
        "mounts": mounts(),
        "linux": {
            "resources": {"devices": [{"allow": False, "access": "rwm"}]},
            "cgroupsPath": f"/{namespace}/{id}",
            "namespaces": [{"type": kind} for kind in NAMESPACES],
            "maskedPaths": list(MASKED_PATHS),
            "readonlyPaths": list(READONLY_PATHS),
        },
    }


def mounts() -> list[dict[str, Any]]:
    """The pseudo file systems of a container."""
    return [{"destination": d, "type": t, "source": s, "options": o.split()} for d, t, s, o in _MOUNTS]


def device_rules() -> list[dict[str, Any]]:
    """The harmless character devices are allowed."""
    return [_allow(*numbers) for numbers in _CHARACTER_DEVICES]


def all_devices() -> list[dict[str, Any]]:
    """Everything is allowed."""
    return [{"allow": True, "access": "rwm"}]


def _allow(major: int, minor: int | None) -> dict[str, Any]:
    rule: dict[str, Any] = {"allow": True, "type": "c", "major": major, "access": "rwm"}
    return rule if minor is None else {**rule, "minor": minor}
