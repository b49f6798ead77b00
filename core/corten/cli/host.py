"""What a spec takes from this machine: variables, capabilities, the kind of cgroups."""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import TextIO

from corten.oci import capabilities as names


def environment(given: Iterable[str], files: Iterable[TextIO]) -> tuple[str, ...]:
    """`KEY=value` as it is; a bare `KEY` with its value here, or left out if it has none. Files come first."""
    entries = [line.strip() for file in files for line in file if line.strip() and not line.startswith("#")]
    found = []
    for entry in [*entries, *given]:
        if "=" in entry:
            found.append(entry)
        elif entry in os.environ:
            found.append(f"{entry}={os.environ[entry]}")
    return tuple(found)


def capabilities() -> tuple[str, ...]:
    """Those in this process's bounding set: the daemon beside it can hardly give more. Empty where /proc is not."""
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return ()
    mask = next((line.split()[1] for line in status.splitlines() if line.startswith("CapBnd:")), "")
    return names.held(int(mask, 16)) if mask else ()


def has_unified_cgroups() -> bool:
    """cgroup v2 alone, where containers get a cgroup namespace (cgroup_namespaces(7))."""
    return os.path.exists("/sys/fs/cgroup/cgroup.controllers")
