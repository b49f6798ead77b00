"""Files to descriptions, each checked; what its version does not have yet is refused. Blocks."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from corten.config.typed import fill
from corten.errors import InvalidArgument, mapped

from .model import Description, Device, DeviceNode, Edits, Hook, IntelRdt
from .names import check_kind, check_name

MAX_SIZE = 4 << 20
"""Bytes of a file."""
VERSIONS = ("0.1.0", "0.2.0", "0.3.0", "0.4.0", "0.5.0", "0.6.0", "0.7.0", "0.8.0", "1.0.0", "1.1.0")
HOOKS = frozenset({"prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"})
_TYPES = frozenset({"", "b", "c", "u", "p"})
NO_PERMISSIONS = "none"


def read(path: Path) -> Description:
    """Raises InvalidArgument, and NotFound if it has gone."""
    what = f"CDI description {path}"
    with mapped(f"{what}: cannot read"), path.open("rb") as file:
        data = file.read(MAX_SIZE + 1)
    if len(data) > MAX_SIZE:
        raise InvalidArgument(f"{what}: it is larger than {MAX_SIZE} bytes")
    description, misfits = fill(Description, _parsed(data, path, what))
    if misfits:
        raise InvalidArgument(f"{what}: {'; '.join(misfit.text for misfit in misfits)}")
    check(description, what)
    return description


def check(description: Description, what: str) -> None:
    """Raises InvalidArgument."""
    if description.cdiVersion.removeprefix("v") not in VERSIONS:
        known = f"{VERSIONS[0]} to {VERSIONS[-1]}"
        raise InvalidArgument(f"{what}: its cdiVersion {description.cdiVersion[:40]!r} is not known ({known})")
    check_kind(description.kind, what)
    seen: set[str] = set()
    for device in description.devices:
        check_name(device.name, f"{what}: device")
        if device.name in seen:
            raise InvalidArgument(f"{what}: device {device.name!r} is there twice")
        seen.add(device.name)
        if device.containerEdits == Edits():
            raise InvalidArgument(f"{what}: device {device.name!r} has no containerEdits")
        _check_edits(device.containerEdits, f"{what}: device {device.name!r}")
    if not description.devices:
        raise InvalidArgument(f"{what}: it has no devices")
    _check_edits(description.containerEdits, what)
    _check_version(description, what)


def _parsed(data: bytes, path: Path, what: str) -> Any:
    import yaml  # few nodes have any such file

    try:
        return json.loads(data) if path.suffix == ".json" else yaml.safe_load(data)
    except (ValueError, yaml.YAMLError, RecursionError) as error:
        raise InvalidArgument(f"{what}: it cannot be parsed: {error}") from error


def _check_edits(edits: Edits, what: str) -> None:
    _check_env(edits.env, what)
    for node in edits.deviceNodes:
        _check_node(node, what)
    for hook in edits.hooks:
        _check_hook(hook, what)
    for mount in edits.mounts:
        if not (mount.hostPath and mount.containerPath):
            raise InvalidArgument(f"{what}: a mount needs hostPath and containerPath")
    if edits.intelRdt is not None:
        _check_rdt(edits.intelRdt, what)
    names = [device.name for device in edits.netDevices]
    hosts = [device.hostInterfaceName for device in edits.netDevices]
    if not all([*names, *hosts]):
        raise InvalidArgument(f"{what}: a net device needs hostInterfaceName and name")
    if len(set(names)) < len(names) or len(set(hosts)) < len(hosts):
        raise InvalidArgument(f"{what}: a net device is there twice")


def _check_env(env: tuple[str, ...], what: str) -> None:
    for variable in env:
        if variable.find("=") <= 0:
            raise InvalidArgument(f"{what}: the environment variable {variable[:80]!r} is not NAME=VALUE")


def _check_node(node: DeviceNode, what: str) -> None:
    if not node.path:
        raise InvalidArgument(f"{what}: a device node has no path")
    if node.type not in _TYPES:
        raise InvalidArgument(f"{what}: device node {node.path}: its type {node.type[:20]!r} is none of b, c, u, p")
    if node.permissions != NO_PERMISSIONS and set(node.permissions) - set("rwm"):
        raise InvalidArgument(
            f"{what}: device node {node.path}: its permissions {node.permissions[:20]!r} are not of rwm"
        )


def _check_hook(hook: Hook, what: str) -> None:
    if hook.hookName not in HOOKS:
        raise InvalidArgument(f"{what}: there is no hook {hook.hookName[:80]!r} (there are {', '.join(sorted(HOOKS))})")
    if not hook.path:
        raise InvalidArgument(f"{what}: hook {hook.hookName} has no path")
    _check_env(hook.env, f"{what}: hook {hook.hookName}")


def _check_rdt(rdt: IntelRdt, what: str) -> None:
    name = rdt.closID
    if name != "/" and (len(name) >= 4096 or name in (".", "..") or "/" in name or "\n" in name):
        raise InvalidArgument(f"{what}: intelRdt: closID {name[:80]!r} is not the name of a directory")


def _check_version(description: Description, what: str) -> None:
    have = VERSIONS.index(description.cdiVersion.removeprefix("v"))
    for version, feature in _needs(description):
        if have < VERSIONS.index(version):
            raise InvalidArgument(
                f"{what}: {feature} is of version {version} on, but its cdiVersion is {description.cdiVersion}"
            )


def _needs(description: Description) -> Iterator[tuple[str, str]]:
    if description.annotations or any(device.annotations for device in description.devices):
        yield "0.6.0", "`annotations`"
    if "." in description.kind.partition("/")[2]:
        yield "0.6.0", "a dot in the class"
    if any(device.name[0].isdigit() for device in description.devices):
        yield "0.5.0", "a device name that begins with a digit"
    for edits in _all_edits(description.devices, description.containerEdits):
        if any(node.hostPath for node in edits.deviceNodes):
            yield "0.5.0", "`hostPath` of a device node"
        if any(mount.type for mount in edits.mounts):
            yield "0.4.0", "`type` of a mount"
        if edits.intelRdt is not None or edits.additionalGids:
            yield "0.7.0", "`intelRdt` or `additionalGids`"
        if edits.netDevices or (edits.intelRdt and (edits.intelRdt.schemata or edits.intelRdt.enableMonitoring)):
            yield "1.1.0", "`netDevices`, or `schemata` or `enableMonitoring` of intelRdt"


def _all_edits(devices: tuple[Device, ...], own: Edits) -> Iterator[Edits]:
    yield own
    yield from (device.containerEdits for device in devices)
