"""AppArmor: whether this host has it, which profiles are loaded, and a default profile for containers.

The default has the effect of containerd's: a container may do what its capabilities allow, but neither mount nor write
to what of /proc and /sys belongs to the host, and trace or signal only what has the same profile.
"""

import os
import shutil
import subprocess
from pathlib import Path

from corten.errors import FailedPrecondition, NotFound, Unknown, mapped

ENABLED = "/sys/module/apparmor/parameters/enabled"
PROFILES = "/sys/kernel/security/apparmor/profiles"
FOLDER = "/etc/apparmor.d"
DEADLINE = 30.0
"""Seconds that apparmor_parser may take."""

_PROC = "@{PROC}"
_OUTSIDE_PIDS = "{[^1-9/],[^1-9/][^0-9/],[^1-9s/][^0-9y/][^0-9s/],[^1-9/][^0-9/][^0-9/][^0-9/]*}"
_DENIED = (
    # files of /proc that belong to no process, but for /proc/sys/kernel/shm*
    (f"{_PROC}/*", "w"),
    (f"{_PROC}/{_OUTSIDE_PIDS}/**", "w"),
    (f"{_PROC}/sys/[^k]**", "w"),
    (f"{_PROC}/sys/kernel/{{?,??,[^s][^h][^m]**}}", "w"),
    (f"{_PROC}/sysrq-trigger", "rwklx"),
    (f"{_PROC}/kcore", "rwklx"),
    # of /sys all but /sys/fs/cgroup
    ("/sys/[^f]*/**", "wklx"),
    ("/sys/f[^s]*/**", "wklx"),
    ("/sys/fs/[^c]*/**", "wklx"),
    ("/sys/fs/c[^g]*/**", "wklx"),
    ("/sys/fs/cg[^r]*/**", "wklx"),
    ("/sys/firmware/**", "rwklx"),
    ("/sys/devices/virtual/powercap/**", "rwklx"),
    ("/sys/kernel/security/**", "rwklx"),
)
_INSIDE = "container"
"""Variable that says, in small letters, that this process is in a container itself."""
_SIGNALLERS = ("unconfined", "runc", "crun")


def enabled(path: str = ENABLED) -> bool:
    """Whether the kernel enforces profiles and they can be loaded from here."""
    try:
        answer = Path(path).read_text()
    except OSError:
        return False
    return answer.startswith("Y") and not os.environ.get(_INSIDE) and shutil.which("apparmor_parser") is not None


def loaded(name: str, path: str = PROFILES) -> bool:
    """Whether the kernel has a profile of that name. Raises NotFound where AppArmor is not."""
    with mapped("read the AppArmor profiles", {FileNotFoundError: NotFound}), open(path) as file:
        return any(line.rpartition(" (")[0] == name for line in file)


def ensure(name: str) -> None:
    """Load the default profile under that name unless the kernel has one. Blocks.

    Raises FailedPrecondition without apparmor_parser, Unknown when it refuses.
    """
    if loaded(name):
        return
    program = shutil.which("apparmor_parser")
    if program is None:
        raise FailedPrecondition(f"AppArmor profile {name}: apparmor_parser is not installed, which loads profiles")
    text = profile(name, _own_profile(), Path(FOLDER))
    done = subprocess.run(
        [program, "-Kr"], input=text, capture_output=True, text=True, timeout=DEADLINE, check=False
    )  # from stdin, past the cache
    if done.returncode:
        raise Unknown(f"AppArmor profile {name}: apparmor_parser refuses it: {done.stderr.strip()}")


def profile(name: str, daemon: str, folder: Path) -> str:
    """The text of the default profile, with what of the distribution's files in `folder` there is."""
    if not name or any(char in name for char in ' \t\n"{}'):
        raise FailedPrecondition(f"AppArmor profile {name!r}: its name has characters that the language uses")
    signallers = dict.fromkeys((*_SIGNALLERS, daemon))
    rules = [
        *(["#include <abstractions/base>"] if (folder / "abstractions/base").exists() else []),
        *("network,", "capability,", "file,", "umount,"),
        *(f"signal (receive) peer={peer}," for peer in signallers),
        f"signal (send,receive) peer={name},",
        *(f"deny {path} {access}," for path, access in _DENIED),
        "deny mount,",
        f"ptrace (trace,tracedby,read,readby) peer={name},",
    ]
    head = [
        *(["abi <abi/3.0>,"] if (folder / "abi/3.0").exists() else []),
        "#include <tunables/global>" if (folder / "tunables/global").exists() else "@{PROC}=/proc/",
    ]
    body = "\n".join(f"  {rule}" for rule in rules)
    return "\n".join(head) + f"\nprofile {name} flags=(attach_disconnected,mediate_deleted) {{\n{body}\n}}\n"


def _own_profile() -> str:
    """That of this process, whose signals a container takes; a name in brackets behind it says how it is enforced."""
    try:
        return Path("/proc/self/attr/current").read_text().rstrip("\0\n").partition(" ")[0] or "unconfined"
    except OSError:
        return "unconfined"
