"""The transformer `mkfs`: makes a file with a file system in it, by the options `X-containerd.mkfs.size|fs|uuid=…`."""

import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import replace

from corten.config.units import size as parse_size
from corten.contracts.mounts import Mount
from corten.errors import DeadlineExceeded, FailedPrecondition, InvalidArgument, Unknown, mapped
from corten.linux import syscalls as kernel

from .places import Places

PREFIX = "X-containerd.mkfs."
DEADLINE = 300.0
"""Seconds that mkfs may take."""
_PROGRAMS = {"ext2": "mkfs.ext2", "ext3": "mkfs.ext3", "ext4": "mkfs.ext4", "xfs": "mkfs.xfs"}
_UUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


def made(mount: Mount, places: Places) -> Mount:
    """The mount without these options; its source is made unless it is there.

    Raises InvalidArgument for options or a path out of bounds, FailedPrecondition without the program.
    """
    wanted = _options(mount)
    kept = tuple(word for word in mount.options if not word.startswith(PREFIX))
    with mapped(f"make a file system in {mount.source}"):
        _make(mount.source, wanted, places)
    return replace(mount, options=kept)


def _options(mount: Mount) -> Mapping[str, str]:
    found = {}
    for word in mount.options:
        if word.startswith(PREFIX):
            key, _, value = word.removeprefix(PREFIX).partition("=")
            if key not in ("size", "fs", "uuid"):
                raise InvalidArgument(f"mount option {word!r}: after {PREFIX} comes size, fs or uuid")
            found[key] = value
    if found.get("fs", "ext4") not in _PROGRAMS:
        raise InvalidArgument(f"mount of {mount.source}: no file system {found['fs']!r} is made here ({_known()})")
    if found.get("uuid") and not _UUID.fullmatch(found["uuid"]):
        raise InvalidArgument(f"mount of {mount.source}: {found['uuid']!r} is no UUID")
    return found


def _known() -> str:
    return ", ".join(_PROGRAMS)


def _size(source: str, text: str) -> int:
    try:
        size = parse_size(text + "iB" if text[-1:].lower() in ("k", "m", "g", "t") else text)
    except ValueError as error:
        raise InvalidArgument(f"mount of {source}: {PREFIX}size: {error}") from None
    if size <= 0:
        raise InvalidArgument(f"mount of {source}: {PREFIX}size is missing or 0")
    return size


def _make(source: str, wanted: Mapping[str, str], places: Places) -> None:
    size = _size(source, wanted.get("size") or "0")
    parent, name = places.parent(source, "image file")
    try:
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | kernel.O_CLOEXEC
        with os.fdopen(os.open(name, flags, 0o640, dir_fd=parent), "r+b") as file:
            try:
                file.truncate(size)
                _format(source, f"/proc/self/fd/{file.fileno()}", file.fileno(), wanted)
            except BaseException:  # half made, it would be taken for a file system the next time
                os.unlink(name, dir_fd=parent)
                raise
    except FileExistsError:
        return
    finally:
        os.close(parent)


def _format(source: str, path: str, fd: int, wanted: Mapping[str, str]) -> None:
    kind, uuid = wanted.get("fs") or "ext4", wanted.get("uuid") or ""
    program = shutil.which(_PROGRAMS[kind])
    if program is None:
        raise FailedPrecondition(f"{_PROGRAMS[kind]} is not installed, which makes {kind} file systems")
    identity = [] if not uuid else ["-m", f"uuid={uuid}"] if kind == "xfs" else ["-U", uuid]
    try:
        done = subprocess.run(
            [program, "-q", *identity, path],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=DEADLINE, check=False, pass_fds=(fd,),
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise DeadlineExceeded(f"{program} on {source}: not done in {DEADLINE:.0f} s") from None
    if done.returncode:
        raise Unknown(f"{program} on {source}: it ended with {done.returncode}: {done.stderr.strip()}")
