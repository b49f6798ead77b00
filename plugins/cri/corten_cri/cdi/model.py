"""A description as it stands in its file; the fields have the words of the specification."""

# ruff: noqa: N815
from collections.abc import Mapping
from dataclasses import field

from corten.values import dataclass


@dataclass(frozen=True, slots=True)
class DeviceNode:
    """A device file; what is left out is that of the host's."""

    path: str = ""
    hostPath: str = ""
    type: str = ""
    major: int = 0
    minor: int = 0
    fileMode: int | None = None
    permissions: str = ""
    uid: int | None = None
    gid: int | None = None


@dataclass(frozen=True, slots=True)
class NetDevice:
    """A network interface of the host, moved into the container."""

    hostInterfaceName: str = ""
    name: str = ""


@dataclass(frozen=True, slots=True)
class Mount:
    """A mount of the OCI spec."""

    hostPath: str = ""
    containerPath: str = ""
    options: tuple[str, ...] = ()
    type: str = ""


@dataclass(frozen=True, slots=True)
class Hook:
    """A hook of the OCI spec; `timeout` in seconds."""

    hookName: str = ""
    path: str = ""
    args: tuple[str, ...] = ()
    env: tuple[str, ...] = ()
    timeout: int | None = None


@dataclass(frozen=True, slots=True)
class IntelRdt:
    """Resource Director Technology."""

    closID: str = ""
    l3CacheSchema: str = ""
    memBwSchema: str = ""
    schemata: tuple[str, ...] = ()
    enableMonitoring: bool = False


@dataclass(frozen=True, slots=True)
class Edits:
    """What is done to the OCI spec of a container."""

    env: tuple[str, ...] = ()
    deviceNodes: tuple[DeviceNode, ...] = ()
    netDevices: tuple[NetDevice, ...] = ()
    hooks: tuple[Hook, ...] = ()
    mounts: tuple[Mount, ...] = ()
    intelRdt: IntelRdt | None = None
    additionalGids: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Device:
    """One device of the kind."""

    name: str = ""
    annotations: Mapping[str, str] = field(default_factory=dict)
    containerEdits: Edits = Edits()


@dataclass(frozen=True, slots=True)
class Description:
    """A file; its own edits are for each container that has any of its devices."""

    cdiVersion: str = ""
    kind: str = ""
    annotations: Mapping[str, str] = field(default_factory=dict)
    devices: tuple[Device, ...] = ()
    containerEdits: Edits = Edits()
