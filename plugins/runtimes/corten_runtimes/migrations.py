"""Moves into cgroups that need not wait: the kernel is told beforehand that one is coming.

Moving a process takes a lock that every fork and exit of the host reads. When nobody has written to it of late, the
kernel first waits for a grace period of RCU, some ten milliseconds (kernel/rcu/sync.c), and runc moves a process late
in `create` and in `exec`. To write a process into the cgroup that it is in moves nothing, but begins that wait while
shim and runc still get ready: what follows within another grace period finds it over.
"""

import logging
import os

from corten.pools import Pools

log = logging.getLogger(__name__)


class Migrations:
    """Of this host, as this process may bring them about; does nothing where it may not."""

    def __init__(self, pools: Pools, procs: str | None = None) -> None:
        self._pools = pools
        self._procs = own_procs() if procs is None else procs
        self._under_way = False

    def __repr__(self) -> str:
        return f"Migrations({self._procs or 'none'}{', under way' if self._under_way else ''})"

    def expect(self) -> None:
        """One will come in some milliseconds. Called on the event loop; costs a write in a thread."""
        if self._procs and not self._under_way:
            self._under_way = True
            self._pools.submit("cgroups", self._stay)

    def _stay(self) -> None:
        """Move this process to where it is (cgroups(7): 0 means the one that writes)."""
        try:
            with open(self._procs, "wb", buffering=0) as file:
                file.write(b"0")
        except OSError as error:
            log.info("cgroup moves are not announced to the kernel: %s", error)
            self._procs = ""
        finally:
            self._under_way = False


def own_procs(root: str = "/sys/fs/cgroup", own: str = "/proc/self/cgroup") -> str:
    """The `cgroup.procs` of a cgroup that this process is in, of whichever hierarchy; empty if none can be written."""
    try:
        with open(own) as file:
            lines = [line.rstrip("\n").split(":", 2) for line in file]
    except OSError:
        return ""
    for _, controllers, path in lines:
        names = [controllers.removeprefix("name=")] if controllers else ["unified", ""]
        for name in names:
            if os.access(procs := os.path.normpath(f"{root}/{name}/{path}/cgroup.procs"), os.W_OK):
                return procs
    return ""
