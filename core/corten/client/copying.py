"""Files into and out of containers, through the processes that run in them or through their snapshots."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from corten.contracts.mounts import Mount
from corten.errors import FailedPrecondition, NotFound, mapped

from .client import Client


async def place(client: Client, id: str) -> tuple[int, list[Mount]]:
    """Where the files of a container are seen: the pid of a process in it, or 0 and the mounts of its snapshot.

    Raises NotFound for the container, FailedPrecondition for one without files of its own.
    """
    container = await client.containers.get(id)
    try:
        state = await client.tasks.get(id)
        if state.status in ("running", "paused", "created"):
            return state.pid, []
    except NotFound:
        pass
    if not container.snapshot_key:
        raise FailedPrecondition(f"container {id!r}: it does not run and has no snapshot: there are no files")
    return 0, await client.snapshots(container.snapshotter).mounts(container.snapshot_key)


@contextmanager
def opened(pid: int, mounts: list[Mount]) -> Iterator[int]:
    """A descriptor of the container's root directory, with what is mounted in it if it runs."""
    if sys.platform == "win32":
        raise FailedPrecondition("copying: containers of Windows cannot be looked into")
    from corten.linux.mount import temporary_mount

    if pid:
        with mapped(f"look into process {pid}"):
            root = os.open(f"/proc/{pid}/root", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            yield root
        finally:
            os.close(root)
        return
    with temporary_mount(mounts) as folder:
        root = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            yield root
        finally:
            os.close(root)
