"""Runtime names: which shim `io.containerd.NAME.vN`, or a path, stands for."""

import re

from corten.errors import InvalidArgument

CHECKPOINT = "checkpoint"
"""In the bundle of a task that is to be restored: the folder with its checkpoint."""
OWN = "io.containerd.runc.v2"
OWN_PROGRAM = "containerd-shim-corten-v1"
"""The own shim as a program, for containerd and whoever else starts shims."""
_GONE = frozenset({"io.containerd.runtime.v1.linux", "io.containerd.runc.v1"})
_NAME = re.compile(r"(?:[A-Za-z0-9-]+\.)*(?P<name>[A-Za-z0-9-]+)\.(?P<version>v[0-9]+)")


def shim_binary(runtime: str) -> str:
    """The program for a runtime name, `containerd-shim-NAME-vN`; an absolute path stands for itself.

    Raises InvalidArgument for other names and for runtimes that containerd has dropped.
    """
    if runtime in _GONE:
        raise InvalidArgument(f"runtime {runtime!r}: it was removed from containerd (use {OWN})")
    if runtime.startswith("/"):
        return runtime
    match = _NAME.fullmatch(runtime)
    if match is None or "." not in runtime:
        raise InvalidArgument(
            f"runtime {runtime!r}: not a runtime name (expected io.containerd.NAME.vN, or the absolute path of a shim)"
        )
    return f"containerd-shim-{match['name']}-{match['version']}"
