"""How runc is called where nobody says otherwise, and what the shim leaves of it in a bundle."""

import os
import sys
from typing import NamedTuple

# ruff: noqa: E402  (what is imported below exists on Linux only)
assert sys.platform != "win32"

from ..runc import stamp
from ..runc import tried as is_tried
from ..shim.records import RECORD

BINARY, ROOT = "runc", "/run/containerd/runc"
"""As containerd's own shim has them; below the root is a folder for each namespace."""


class Called(NamedTuple):
    """How runc was called for a container."""

    binary: str
    root: str
    systemd_cgroup: bool


def called(bundle: str, namespace: str) -> Called:
    """What the shim has left in the bundle; the defaults if its container was not created yet."""
    try:
        with open(f"{bundle}/{RECORD}", "rb") as file:
            binary, root, systemd = file.read().decode().split("\0")
    except (OSError, ValueError):
        return Called(BINARY, os.path.join(ROOT, namespace), False)
    return Called(binary, root, bool(systemd))


def tried(folder: str) -> bool:
    """Whether runc may be passed by; asked of it once, and remembered in the folder."""
    now = stamp(BINARY)
    if now is None:
        return False
    path, line = f"{folder}/runc", " ".join(map(str, now))
    try:
        with open(path) as file:
            known, _, answer = file.read().rpartition(" ")
            if known == line:
                return answer == "yes"
    except OSError:
        pass
    answer = "yes" if is_tried(now[0]) else "no"
    with open(path, "w") as file:
        file.write(f"{line} {answer}")
    return answer == "yes"
