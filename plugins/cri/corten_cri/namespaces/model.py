"""What is asked for when the namespaces of a pod are made, and where they are held."""

import json
import uuid
from collections.abc import Mapping
from dataclasses import asdict, field
from pathlib import Path

from corten.values import dataclass

NETNS_FOLDER = "/var/run/netns"
"""Where network namespaces are pinned unless they are to lie in the state folder; `ip netns` lists them there."""
SHM_SIZE = 64 << 20
"""Bytes of a pod's /dev/shm."""


@dataclass(frozen=True, slots=True)
class IdMap:
    """One line of a uid or gid map: `size` ids from `container` inside are those from `host` outside."""

    container: int
    host: int
    size: int


@dataclass(frozen=True, slots=True)
class Pins:
    """The paths at which the namespaces of a pod are held; an empty one is not the pod's own, but the host's.

    `shm` is the directory on which the pod's /dev/shm is mounted, and `sys`, of privileged pods, one with a sysfs of
    their network that can be written to: the first of a network decides that for all, and it lives as long as any.
    Record them before `make` is called.
    """

    net: str = ""
    ipc: str = ""
    uts: str = ""
    user: str = ""
    shm: str = ""
    sys: str = ""

    def namespaces(self) -> dict[str, str]:
        """Kind (the name in /proc/PID/ns) to path, of those that are the pod's own."""
        kinds = (("user", self.user), ("net", self.net), ("ipc", self.ipc), ("uts", self.uts))
        return {kind: path for kind, path in kinds if path}


@dataclass(frozen=True, slots=True)
class PodNamespaces:
    """The namespaces wanted: one for each path in `pins`, a user namespace with the maps.

    `sysctls` of network interfaces are left to `finish`, after CNI has made the interfaces.
    """

    pins: Pins
    hostname: str = ""
    """Empty: the host's own name at that time."""
    sysctls: Mapping[str, str] = field(default_factory=dict)
    uids: tuple[IdMap, ...] = ()
    gids: tuple[IdMap, ...] = ()
    shm_size: int = SHM_SIZE

    def to_json(self) -> bytes:
        return json.dumps(asdict(self)).encode()

    @classmethod
    def from_json(cls, text: bytes) -> "PodNamespaces":
        read = json.loads(text)
        uids, gids = (tuple(IdMap(**line) for line in read.pop(kind)) for kind in ("uids", "gids"))
        return cls(pins=Pins(**read.pop("pins")), uids=uids, gids=gids, **read)


def pins_for(
    folder: Path,
    *,
    net: bool,
    ipc: bool,
    uts: bool,
    user: bool = False,
    privileged: bool = False,
    netns_folder: str | Path = NETNS_FOLDER,
) -> Pins:
    """New paths for the namespaces that a pod is to have of its own; nothing is made yet.

    `folder` is the pod's, in the state folder; the network namespace gets a new name in `netns_folder`. A pod with the
    host's ipc namespace uses the host's /dev/shm too.
    """
    return Pins(
        net=f"{netns_folder}/cni-{uuid.uuid4()}" if net else "",
        ipc=str(folder / "ns" / "ipc") if ipc else "",
        uts=str(folder / "ns" / "uts") if uts else "",
        user=str(folder / "ns" / "user") if user else "",
        shm=str(folder / "shm") if ipc else "",
        sys=str(folder / "sys") if privileged and net and not user else "",
    )
