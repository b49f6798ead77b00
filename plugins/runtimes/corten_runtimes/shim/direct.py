"""What `runc start` and `runc delete` do, without running them: 12 ms less in the life of a container.

Start: init waits until somebody reads its exec.fifo. Delete, when init has ended: the cgroups and runc's state folder
go. Both lean on the inside of runc, so they are taken only for versions that were tried, delete only for plain
containers (no hooks or RDT groups to undo, no systemd to ask); whatever is unexpected is left to the command.
"""

import os
import re
import sys
from collections.abc import Iterable
from functools import partial
from pathlib import Path

# ruff: noqa: E402  (what is imported below exists on Linux only)
assert sys.platform != "win32"

from .loop import HANGUP, IN, Later, Loop, Steps
from .reaper import Ended

TRIED = frozenset({(1, 1), (1, 5)})
"""Versions of runc, major and minor, whose init was seen to wait this way."""


def is_tried(version: str) -> bool:
    """Whether the output of `runc --version` names a version in `TRIED`."""
    match = re.match(r"runc version (\d+)\.(\d+)\.", version)
    return match is not None and (int(match[1]), int(match[2])) in TRIED and "NOTIFY_SOCKET" not in os.environ


def start(loop: Loop, state: str, reaped: Later[Ended]) -> Steps[bool]:
    """Let the init process of the container with runc's state folder `state` go on; False: use the command."""
    path = f"{state}/exec.fifo"
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return False
    told: Later[None] = Later()
    loop.watch(fd, IN | HANGUP, lambda _: told.set(None))
    reaped.then(partial(told.set, None))  # a dead init never writes
    try:
        yield from told.wait()
        loop.forget(fd)
        if not os.read(fd, 1):
            return False
        os.unlink(path)
    except OSError:
        return False
    finally:
        loop.forget(fd)
        os.close(fd)
    return True


def delete(state: str, cgroups: Iterable[str]) -> bool:
    """Remove the cgroup directories and the state folder of a container that has ended; False: use the command.

    A directory that others use, or that has directories below it, is not removed by rmdir(2): then runc shall decide.
    """
    try:
        for path in cgroups:
            try:
                Path(path).rmdir()
            except FileNotFoundError:
                pass
        for name in os.listdir(state):
            os.unlink(f"{state}/{name}")
        Path(state).rmdir()
    except OSError:
        return False
    return True
