"""Asking runc beside the shims: what it is and can, and deleting a container whose shim is gone."""

import json
import logging
import os
import shutil
import subprocess
import sys

from corten import CONTAINERD_VERSION, REVISION
from corten.api.types import introspection_pb2
from corten.errors import DeadlineExceeded, NotFound, Unknown, mapped

# ruff: noqa: E402  (what is imported below exists on Linux only)
assert sys.platform != "win32"

from .shim import direct, spawn

log = logging.getLogger(__name__)
_FEATURES = "types.containerd.io/opencontainers/runtime-spec/1/features/Features"
_ASK_DEADLINE = 10.0
REMOVE_DEADLINE = 30.0
"""Seconds that runc may take."""
Stamp = tuple[str, int, int]


def info(name: str, binary: str) -> introspection_pb2.RuntimeInfo:
    """`containerd.types.RuntimeInfo` without options. Raises NotFound if runc is not there.

    The version is the shim's; runc tells its own among its features, which one without `runc features` has none of.
    """
    answer = introspection_pb2.RuntimeInfo(name=name)
    answer.version.version, answer.version.revision = CONTAINERD_VERSION, REVISION
    if features := _features(binary):
        answer.features.type_url, answer.features.value = _FEATURES, features
    return answer


def stamp(binary: str) -> Stamp | None:
    """Tells whether the program is still the same: its path, inode and time of change; None if there is none."""
    path = shutil.which(binary)
    if path is None:
        return None
    stat = os.stat(path)
    return (path, stat.st_ino, stat.st_mtime_ns)


def tried(path: str) -> bool:
    """Whether this runc is of a version that may be passed by (`shim.direct`)."""
    answer = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=_ASK_DEADLINE, check=False)
    return direct.is_tried(answer.stdout)


def delete(id: str, binary: str, root: str, *, systemd_cgroup: bool) -> None:
    """Kill and delete a container; one that runc does not know is no error. Raises NotFound, Unknown."""
    if not os.path.isdir(os.path.join(root, id)):
        return
    flags = ["--systemd-cgroup"] if systemd_cgroup else []
    command = [binary, "--root", root, *flags, "delete", "--force", id]
    with mapped(f"task {id!r}: runc delete --force", {FileNotFoundError: NotFound}):
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=REMOVE_DEADLINE, check=False)
        except subprocess.TimeoutExpired:
            raise DeadlineExceeded(
                f"task {id!r}: {binary} delete --force: not done in {REMOVE_DEADLINE:.0f} s"
            ) from None
    if done.returncode and "does not exist" not in done.stderr:
        raise Unknown(f"task {id!r}: runc delete --force failed: {done.stderr.strip()}")


def _features(binary: str) -> bytes:
    """The JSON object that `runc features` prints; nothing of a runtime that does not know the command."""
    if shutil.which(binary) is None:
        raise spawn.no_program(binary)
    command = [binary, "features"]
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, timeout=_ASK_DEADLINE, check=False
        )
        return done.stdout if done.returncode == 0 and isinstance(json.loads(done.stdout), dict) else b""
    except (OSError, ValueError, subprocess.TimeoutExpired) as error:
        log.debug("%s features: %s", binary, error)
        return b""
