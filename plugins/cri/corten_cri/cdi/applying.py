"""Edits applied to an OCI spec, in place; device files are looked at on the host. Blocks briefly."""

import os
import stat
import sys
from collections.abc import Iterable
from typing import Any

from corten.errors import InvalidArgument, mapped

from .model import DeviceNode, Edits, Hook, IntelRdt, Mount
from .reading import NO_PERMISSIONS

assert sys.platform != "win32"


def apply(spec: dict[str, Any], all: Iterable[Edits]) -> None:
    """Raises NotFound for a device that is not on the host, InvalidArgument for one of another type."""
    process, linux = spec.setdefault("process", {}), spec.setdefault("linux", {})
    for edits in all:
        process["env"] = _env(process.get("env") or [], edits.env)
        for node in edits.deviceNodes:
            _node(process, linux, node)
        for device in edits.netDevices:
            linux.setdefault("netDevices", {})[device.hostInterfaceName] = {"name": device.name}
        _mounts(spec, linux, edits.mounts)
        for hook in edits.hooks:
            spec.setdefault("hooks", {}).setdefault(hook.hookName, []).append(_hook(hook))
        if edits.intelRdt is not None:
            linux["intelRdt"] = _rdt(edits.intelRdt)
        _groups(process, edits.additionalGids)


def _env(known: list[str], new: Iterable[str]) -> list[str]:
    named = {variable.partition("=")[0]: variable for variable in new}
    changed = [named.pop(variable.partition("=")[0], variable) for variable in known]
    return changed + list(named.values())


def _node(process: dict[str, Any], linux: dict[str, Any], node: DeviceNode) -> None:
    device = _completed(node)
    user = process.get("user") or {}
    for key in ("uid", "gid"):
        value = getattr(node, key)
        if value is None:
            value = user.get(key) or None
        if value is not None:
            device[key] = value
    linux["devices"] = [each for each in linux.get("devices") or [] if each["path"] != node.path] + [device]
    if device["type"] in ("b", "c"):
        access = {"": "rwm", NO_PERMISSIONS: ""}.get(node.permissions, node.permissions)
        rule = {"allow": True, "type": device["type"], "major": device["major"], "minor": device["minor"]}
        linux.setdefault("resources", {}).setdefault("devices", []).append({**rule, "access": access})


def _completed(node: DeviceNode) -> dict[str, Any]:
    """With what is left out as it is on the host. A node with type and number needs no file there."""
    whole = bool(node.type and (node.major or node.type == "p"))
    made: dict[str, Any] = {"path": node.path, "type": node.type, "major": node.major, "minor": node.minor}
    if node.fileMode is not None:
        made["fileMode"] = node.fileMode
    host = node.hostPath or node.path
    try:
        with mapped(f"CDI device node {host}: cannot look at it"):
            found = os.lstat(host)
            kind = _kind(found.st_mode)
    except Exception:
        if whole:
            return made
        raise
    made.setdefault("fileMode", stat.S_IMODE(found.st_mode))
    if whole:
        return made
    if not kind:
        raise InvalidArgument(f"CDI device node {host}: it is no device")
    if node.type and node.type != kind:
        raise InvalidArgument(f"CDI device node {host}: it is of type {kind}, not {node.type}")
    made["type"] = kind
    if kind != "p" and not node.major:
        made["major"], made["minor"] = os.major(found.st_rdev), os.minor(found.st_rdev)
    return made


def _kind(mode: int) -> str:
    for test, kind in ((stat.S_ISBLK, "b"), (stat.S_ISCHR, "c"), (stat.S_ISFIFO, "p")):
        if test(mode):
            return kind
    return ""


def _mounts(spec: dict[str, Any], linux: dict[str, Any], wanted: Iterable[Mount]) -> None:
    """Each in the place of what is at its path, parents before what lies below them."""
    if not wanted:
        return
    user = any(namespace["type"] == "user" for namespace in linux.get("namespaces") or [])
    mounts = list(spec.get("mounts") or [])
    for mount in wanted:
        mounts = [each for each in mounts if each["destination"] != mount.containerPath]
        made: dict[str, Any] = {"destination": mount.containerPath, "source": mount.hostPath}
        if mount.type:
            made["type"] = mount.type
        mounts.append(made | {"options": [*mount.options, *(_idmap(mount) if user else ())]})
    spec["mounts"] = sorted(mounts, key=lambda each: os.path.normpath(each["destination"]).count("/"))


def _idmap(mount: Mount) -> tuple[str, ...]:
    """In a user namespace a bind mount belongs to the container's users, not to the host's."""
    if {"idmap", "ridmap"} & set(mount.options):
        return ()
    if "rbind" in mount.options:
        return ("ridmap",)
    return ("idmap",) if mount.type == "bind" or "bind" in mount.options else ()


def _hook(hook: Hook) -> dict[str, Any]:
    made: dict[str, Any] = {"path": hook.path}
    if hook.args:
        made["args"] = list(hook.args)
    if hook.env:
        made["env"] = list(hook.env)
    if hook.timeout is not None:
        made["timeout"] = hook.timeout
    return made


def _rdt(rdt: IntelRdt) -> dict[str, Any]:
    made = {
        "closID": rdt.closID, "l3CacheSchema": rdt.l3CacheSchema, "memBwSchema": rdt.memBwSchema,
        "schemata": list(rdt.schemata), "enableMonitoring": rdt.enableMonitoring,
    }  # fmt: skip
    return {key: value for key, value in made.items() if value}


def _groups(process: dict[str, Any], wanted: Iterable[int]) -> None:
    """Group 0 is never added."""
    user = process.setdefault("user", {})
    known = user.get("additionalGids") or []
    new = [gid for gid in dict.fromkeys(wanted) if gid and gid not in known]
    if new:
        user["additionalGids"] = [*known, *new]
