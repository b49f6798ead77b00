"""What a caller may ask of a spec, as frozen values."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class User:
    """Who a process runs as; `additional_gids` holds the primary group too, as the kernel's group list should."""

    uid: int = 0
    gid: int = 0
    additional_gids: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class SpecMount:
    """A mount inside the container; `options` are those of mount(8) and of the runtime (`rbind`, `rro` …)."""

    destination: str
    source: str
    type: str = "bind"
    options: tuple[str, ...] = ("rbind", "rw")


@dataclass(frozen=True, slots=True)
class SpecOptions:
    """What differs from the default container. Empty and None always mean "as the image and the defaults say"."""

    args: tuple[str, ...] = ()
    """Replaces the image's Cmd; its Entrypoint stays in front."""
    entrypoint: tuple[str, ...] | None = None
    """Replaces the image's Entrypoint; the image's Cmd is then not used."""
    env: tuple[str, ...] = ()
    """`KEY=value` sets, a bare `KEY` removes."""
    cwd: str = ""
    user: User = field(default_factory=User)
    terminal: bool = False
    mounts: tuple[SpecMount, ...] = ()
    read_only: bool = False
    memory: int = 0
    """Limit in bytes; 0 for none."""
    cpus: float = 0.0
    """CFS quota in processors; 0 for none."""
    cpu_shares: int = 0
    pids: int = 0
    """Most processes at once; 0 for no limit."""
    cap_add: tuple[str, ...] = ()
    """With or without `CAP_`, in either case; `ALL` means every one the kernel has."""
    cap_drop: tuple[str, ...] = ()
    available_capabilities: tuple[str, ...] = ()
    """What the host can give at most, e.g. `capabilities.held` of a mask; empty: all."""
    hostname: str = ""
    privileged: bool = False
    new_privileges: bool = False
    """Let set-uid programs and file capabilities give more than the container started with."""
    host_network: bool = False
    cgroup_namespace: bool = False
    """A cgroup namespace of its own; makes sense on cgroup v2."""
    cgroups_path: str = ""
    """Replaces `/<namespace>/<id>`."""
    annotations: Mapping[str, str] = field(default_factory=dict)
