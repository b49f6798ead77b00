"""Told when the kernel kills in a container for want of memory.

cgroup v1: an eventfd registered on memory.oom_control. cgroup v2: the file memory.events becomes urgent-readable when a
counter in it changes (cgroup-v2.rst), and its `oom_kill` tells whether that was it.
"""

import os
import sys
from collections.abc import Callable

# ruff: noqa: E402  (what is imported below exists on Linux only)
assert sys.platform != "win32"

from . import cgroups_files, files
from .cgroups import Cgroups
from .loop import IN, URGENT, Loop


class OomWatch:
    """Watches until `close`."""

    def __init__(self, loop: Loop, fds: list[int], path: str, call: Callable[[], None]) -> None:
        self._loop, self._fds, self._path, self._call = loop, fds, path, call
        self._seen = 0

    @classmethod
    def start(cls, loop: Loop, cgroups: Cgroups, call: Callable[[], None]) -> "OomWatch | None":
        """Call `call` for each kill; None where the kernel does not offer it."""
        try:
            if cgroups.unified:
                return cls._unified(loop, cgroups.unified, call)
            return cls._eventfd(loop, cgroups.paths["memory"], call) if "memory" in cgroups.paths else None
        except OSError:
            return None

    def close(self) -> None:
        """Stop watching."""
        for fd in self._fds:
            self._loop.forget(fd)
            os.close(fd)
        self._fds.clear()

    @classmethod
    def _eventfd(cls, loop: Loop, path: str, call: Callable[[], None]) -> "OomWatch":
        control = os.open(f"{path}/memory.oom_control", os.O_RDONLY | os.O_CLOEXEC)
        event = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        watch = cls(loop, [event], path, call)
        try:
            files.write(f"{path}/cgroup.event_control", b"%d %d" % (event, control))
        except OSError:
            os.close(event)
            raise
        finally:
            os.close(control)
        loop.watch(event, IN, watch._killed)
        return watch

    def _killed(self, events: int) -> None:
        os.eventfd_read(self._fds[0])
        if os.path.exists(f"{self._path}/memory.oom_control"):
            self._call()
        else:  # the removal of the cgroup is told the same way
            self.close()

    @classmethod
    def _unified(cls, loop: Loop, path: str, call: Callable[[], None]) -> "OomWatch":
        fd = os.open(f"{path}/memory.events", os.O_RDONLY | os.O_CLOEXEC)
        watch = cls(loop, [fd], path, call)
        watch._seen = watch._kills()
        loop.watch(fd, URGENT, watch._changed)
        return watch

    def _changed(self, events: int) -> None:
        try:
            os.pread(self._fds[0], 4096, 0)
        except OSError:
            self.close()
            return
        seen, self._seen = self._seen, max(self._seen, self._kills())
        if self._seen > seen:
            self._call()

    def _kills(self) -> int:
        return cgroups_files.table(self._path, "memory.events").get("oom_kill", 0)
