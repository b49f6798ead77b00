"""`delete`: after a shim that has died or does not answer, the container is killed and its remains taken away."""

import signal
import sys
import time

from corten.api.runtime.task.v2.shim_pb2 import DeleteResponse
from corten.linux import mount
from corten.zygote import standing

# ruff: noqa: E402  (what is imported below exists on Linux only)
assert sys.platform != "win32"

from .. import remains
from .. import runc as programs
from . import place, runc


def delete(namespace: str, id: str, bundle: str) -> bytes:
    """Returns what to print, a `DeleteResponse`: killed, now. Raises NotFound without runc, Unknown if it fails."""
    pid, how = _init_pid(bundle), runc.called(bundle, namespace)
    try:
        remains.end_commands(bundle)
        programs.delete(id, how.binary, how.root, systemd_cgroup=how.systemd_cgroup)
    finally:
        mount.unmount_all(f"{bundle}/rootfs")
        _remove_socket(bundle)
    response = DeleteResponse(pid=pid, exit_status=128 + signal.SIGKILL)
    response.exited_at.FromNanoseconds(time.time_ns())
    return response.SerializeToString()


def _init_pid(bundle: str) -> int:
    try:
        with open(f"{bundle}/init.pid") as file:
            return int(file.read())
    except (OSError, ValueError):
        return 0


def _remove_socket(bundle: str) -> None:
    """The socket of a shim that is gone, and what is left of a zygote that is."""
    try:
        with open(f"{bundle}/{place.RECORD}") as file:
            path = file.read()
    except OSError:
        return
    if not place.listens(path):
        standing.clear(place.folder(bundle))
