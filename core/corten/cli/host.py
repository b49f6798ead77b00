"""What a spec takes from this machine: variables, the kind of cgroups, files of its network."""

import os
from collections.abc import Iterable
from typing import TextIO

from corten.errors import InvalidArgument
from corten.linux import cgroups
from corten.oci import mounts
from corten.oci.options import Namespaces, SpecMount

_NETWORK_FILES = ("/etc/hosts", "/etc/resolv.conf")


def environment(given: Iterable[str], files: Iterable[TextIO]) -> tuple[str, ...]:
    """`KEY=value` as it is; a bare `KEY` with its value here, or left out if it has none. Files come first."""
    entries = [line.strip() for file in files for line in file if line.strip() and not line.startswith("#")]
    found = []
    for entry in [*entries, *given]:
        if not entry.partition("=")[0]:
            raise InvalidArgument(f"environment {entry!r}: write KEY=value, or KEY to take it from here")
        if "=" in entry:
            found.append(entry)
        elif entry in os.environ:
            found.append(f"{entry}={os.environ[entry]}")
    return tuple(found)


def namespaces(*, network: bool) -> Namespaces:
    """New ones but for the host's `network` where asked for; a cgroup namespace where there is only cgroup v2."""
    own_cgroups = cgroups.mode() is cgroups.Mode.UNIFIED  # cgroup_namespaces(7): with v1 it hides little
    return Namespaces(network=None if network else "", cgroup="" if own_cgroups else None)


def network_files(wanted: bool) -> tuple[SpecMount, ...]:
    """The host's names and resolvers, for a container in its network."""
    return tuple(mounts.bind(path, path, read_only=True) for path in _NETWORK_FILES) if wanted else ()
