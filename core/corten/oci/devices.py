"""Device nodes for a container: found on this host, and as the specification's objects."""

import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from corten.errors import CortenError, InvalidArgument, NotFound, PermissionDenied, mapped

from .options import Device

DEV = "/dev"
_SKIPPED = frozenset({"pts", "shm", "fd", "mqueue", ".lxc", ".lxd-mounts", ".udev", "console"})
"""Below /dev, what each container has of its own or what is no device's place."""
_TYPES = {stat.S_IFCHR: "c", stat.S_IFBLK: "b", stat.S_IFIFO: "p"}
_ERRORS: dict[type[BaseException], type[CortenError]] = {
    FileNotFoundError: NotFound,
    NotADirectoryError: NotFound,
    PermissionError: PermissionDenied,
}


def nodes(path: str, destination: str = "", access: str = "rwm") -> list[Device]:
    """The device at `path`, or all below it if that is a directory; links are followed.

    In the container they are at or below `destination`, by default at the same place. Raises NotFound if there is
    none, InvalidArgument for what is no device or for an access other than of the letters r, w, m.
    """
    if not access or set(access) - set("rwm"):
        raise InvalidArgument(f"device {path}: the access {access!r} is not of the letters r, w and m")
    with mapped(f"look at the device {path}", _ERRORS):
        real = os.path.realpath(path, strict=True)
        if os.path.isdir(real):
            return list(_below(real, destination or path, access))
        found = _node(real, destination or path, access)
    if found is None:
        raise InvalidArgument(f"device {path}: it is neither a device nor a directory of devices")
    return [found]


def of_host() -> list[Device]:
    """All that a privileged container gets; the rule that allows every device is a matter of its own."""
    with mapped(f"list the devices in {DEV}", _ERRORS):
        return list(_below(DEV, DEV, ""))


def owned(devices: Iterable[Device], uid: int = 0, gid: int = 0) -> list[Device]:
    """With the ids that are not 0 in place of the host's, so that an unprivileged process may open them."""
    return [replace(device, uid=uid or device.uid, gid=gid or device.gid) for device in devices]


def documents(devices: Sequence[Device]) -> list[dict[str, Any]]:
    """The specification's `devices`; the last of several for one path counts."""
    by_path = {device.path: device for device in devices}
    return [
        {
            "path": device.path,
            "type": device.type,
            "major": device.major,
            "minor": device.minor,
            "fileMode": device.mode,
            "uid": device.uid,
            "gid": device.gid,
        }
        for device in by_path.values()
    ]


def rules(devices: Iterable[Device]) -> list[dict[str, Any]]:
    """What the device cgroup lets through for them."""
    return [
        {"allow": True, "type": device.type, "major": device.major, "minor": device.minor, "access": device.access}
        for device in devices
        if device.access and device.type != "p"
    ]


def _below(directory: str, destination: str, access: str) -> Iterator[Device]:
    for entry in sorted(os.scandir(directory), key=lambda entry: entry.name):
        if entry.name in _SKIPPED:
            continue
        place = f"{destination.rstrip('/')}/{entry.name}"
        if entry.is_dir(follow_symlinks=False):
            yield from _below(entry.path, place, access)
        elif (found := _node(entry.path, place, access)) is not None and found.type != "p":
            yield found


def _node(path: str, place: str, access: str) -> Device | None:
    try:
        found = os.lstat(path)
    except FileNotFoundError:  # gone since the directory was read
        return None
    kind = _TYPES.get(stat.S_IFMT(found.st_mode))
    if kind is None:
        return None
    number: int = getattr(found, "st_rdev", 0)  # not there for type checkers on Windows
    # os.major and os.minor are not there for every type checker's platform; the layout is glibc's.
    major = (number >> 8 & 0xFFF) | (number >> 32 & ~0xFFF)
    minor = (number & 0xFF) | (number >> 12 & ~0xFF & 0xFFFFFFFF)
    return Device(place, kind, major, minor, stat.S_IMODE(found.st_mode), found.st_uid, found.st_gid, access)
