"""NRI with a runtime that only notes what plugins ask of it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from corten.contracts.nri import NriContainer, NriPod, Resources
from corten.errors import NotFound
from corten.pools import Pools
from corten.supervisor import Supervisor
from corten_nri.adaptation import Adaptation
from corten_nri.config import NriConfig

POD = NriPod("pod1", "web", "uid1", "default", {"app": "web"}, {"note": "pod"}, "runc", ips=("10.0.0.2",))
SPEC: dict[str, Any] = {
    "process": {
        "args": ["sh"], "env": ["PATH=/bin", "OLD=1"], "user": {"uid": 1, "gid": 2, "additionalGids": [2, 3]},
        "rlimits": [{"type": "RLIMIT_NOFILE", "hard": 10, "soft": 5}], "oomScoreAdj": 100,
    },
    "mounts": [{"destination": "/proc", "type": "proc", "source": "proc"}],
    "annotations": {"known": "yes"},
    "linux": {
        "namespaces": [{"type": "pid"}, {"type": "network", "path": "/run/netns/a"}],
        "resources": {"memory": {"limit": 1000}, "cpu": {"shares": 2, "cpus": "0"}, "devices": [{"allow": False}]},
        "cgroupsPath": "/kube/a", "sysctl": {"net.a": "1"},
    },
}  # fmt: skip
CONTAINER = NriContainer("ctr1", "pod1", "main", SPEC)


@dataclass
class NotingRuntime:
    """Fulfils `NriRuntime`."""

    known_pods: list[NriPod] = field(default_factory=list)
    known_containers: list[NriContainer] = field(default_factory=list)
    updates: list[tuple[str, Resources]] = field(default_factory=list)
    evictions: list[tuple[str, str]] = field(default_factory=list)

    def pods(self) -> list[NriPod]:
        return self.known_pods

    def containers(self) -> list[NriContainer]:
        return self.known_containers

    async def update(self, container_id: str, resources: Resources) -> None:
        if container_id.startswith("broken"):
            raise NotFound(f"container {container_id}: cannot be updated")
        self.updates.append((container_id, resources))

    async def evict(self, container_id: str, reason: str) -> None:
        self.evictions.append((container_id, reason))


@dataclass
class NriWorld:
    """What a test works with."""

    nri: Adaptation
    runtime: NotingRuntime
    socket: str


@asynccontextmanager
async def nri_world(folder: Path, runtime: NotingRuntime | None = None, **settings: Any) -> AsyncIterator[NriWorld]:
    """A started NRI on a socket in `folder`."""
    pools, supervisor = Pools(), Supervisor()
    path = str(folder / "nri.sock")
    defaults = {"socket_path": path, "plugin_path": str(folder / "none"), "plugin_config_path": str(folder / "conf")}
    nri = Adaptation(NriConfig(**{**defaults, **settings}), pools, supervisor)
    world = NriWorld(nri, runtime or NotingRuntime(), path)
    try:
        await nri.start(world.runtime)
        yield world
    finally:
        await nri.close()
        await supervisor.close(1)
        pools.close()
