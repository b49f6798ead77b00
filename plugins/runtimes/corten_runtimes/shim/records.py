"""What a shim that was started as a program leaves in a bundle: the program cleans up by it when the shim is gone."""

import sys

# ruff: noqa: E402  (what is imported below exists on Linux only)
assert sys.platform != "win32"

from . import files
from .spawn import RuncSettings

RECORD = "runc"


def write(bundle: str, runc: RuncSettings) -> None:
    """How runc is called for the container of the bundle, before it is."""
    words = (runc.binary, runc.root, "systemd" if runc.systemd_cgroup else "")
    files.write(f"{bundle}/{RECORD}", "\0".join(words).encode())
