"""What a container is made of, as its create call and the facts in its bundle say."""

import os
import sys
from collections.abc import Sequence
from typing import NamedTuple

from corten.api.types import mount_pb2
from corten.contracts.mounts import Mount
from corten.linux import mount

# ruff: noqa: E402  (what is imported below exists on Linux only)
assert sys.platform != "win32"

from .spawn import RuncSettings
from .streams import Stdio

EXECS_MAX = 512
"""Execs that a container may have at a time, unless the settings say otherwise."""


class Making(NamedTuple):
    """What a container is made of. (A tuple is made in one step, a frozen dataclass field by field.)"""

    id: str
    bundle: str
    rootfs: Sequence[mount_pb2.Mount]
    stdio: Stdio
    runc: RuncSettings
    owner: tuple[int, int]
    private_pids: bool
    """Whether it has a pid namespace of its own, so that nothing outlives init."""
    console: str
    """Prefix of paths for console sockets."""
    namespace: str = ""
    checkpoint: str = ""
    """Folder of criu's from which it is restored when it is started; nothing of it runs before."""
    max_execs: int = EXECS_MAX
    direct_start: bool = False
    """Whether runc is of a version for which `direct` was tried."""
    direct_delete: bool = False
    """Whether besides there is nothing to undo that only runc knows of."""

    @property
    def root(self) -> str:
        """Where its root file system is mounted."""
        return f"{self.bundle}/rootfs"

    def mount_root(self) -> None:
        """Mount what the call brought; without it the root file system is the business of whoever wrote the spec."""
        if self.rootfs:
            try:
                os.mkdir(self.root, 0o711)
            except FileExistsError:
                pass
            steps = [Mount(each.type, each.source, each.target, tuple(each.options)) for each in self.rootfs]
            mount.mount_all(steps, self.root)

    def unmount_root(self) -> None:
        """Undo it, as far as it was done."""
        if self.rootfs:
            mount.unmount_all(self.root)
