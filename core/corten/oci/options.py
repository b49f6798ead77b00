"""What a caller may ask of a spec, as frozen values. None always means "as the base document says", empty means "none".

SpecOptions(
    args=("serve",),
    namespaces=Namespaces(network="/run/netns/pod-1", user="", uid_mappings=(IdMapping(0, 100_000, 65_536),)),
    security=Security(drop=("NET_RAW",), seccomp=seccomp.Default()),
    resources=Resources(memory=512 << 20, pids=100),
)
"""

from collections.abc import Mapping
from dataclasses import field
from typing import Any

from corten.values import dataclass

from .seccomp import Default


@dataclass(frozen=True, slots=True)
class User:
    """Who a process runs as; `additional_gids` holds the primary group too, as the kernel's group list should."""

    uid: int = 0
    gid: int = 0
    additional_gids: tuple[int, ...] = ()
    umask: int | None = None


@dataclass(frozen=True, slots=True)
class IdMapping:
    """`size` ids from `container` on are those from `host` on (user_namespaces(7))."""

    container: int
    host: int
    size: int


@dataclass(frozen=True, slots=True)
class SpecMount:
    """A mount inside the container; `options` are those of mount(8) and of the runtime (`rbind`, `rro` …).

    `mounts.bind` and `mounts.tmpfs` make the usual ones. With mappings it is an id-mapped mount (mount_setattr(2)).
    """

    destination: str
    source: str
    type: str = "bind"
    options: tuple[str, ...] = ("rbind", "rw")
    uid_mappings: tuple[IdMapping, ...] = ()
    gid_mappings: tuple[IdMapping, ...] = ()


@dataclass(frozen=True, slots=True)
class Device:
    """A device node in the container (`devices.nodes` finds those of this host), and what may be done with it."""

    path: str
    type: str
    """`c`, `b`, or `p` for a FIFO."""
    major: int = 0
    minor: int = 0
    mode: int = 0o666
    uid: int = 0
    gid: int = 0
    access: str = "rwm"
    """For the device cgroup; empty adds no rule."""


@dataclass(frozen=True, slots=True)
class Rlimit:
    """`type` as in getrlimit(2), e.g. `RLIMIT_NOFILE`."""

    type: str
    soft: int
    hard: int


@dataclass(frozen=True, slots=True)
class Hook:
    """A program of the host that the runtime runs at a point in the container's life."""

    path: str
    args: tuple[str, ...] = ()
    env: tuple[str, ...] = ()
    timeout: int = 0
    """Seconds; 0 for no limit."""


@dataclass(frozen=True, slots=True)
class Namespaces:
    """Each is None for the host's, "" for a new one, or the path of the one to join."""

    pid: str | None = ""
    ipc: str | None = ""
    uts: str | None = ""
    mount: str | None = ""
    network: str | None = ""
    cgroup: str | None = None
    user: str | None = None
    time: str | None = None
    uid_mappings: tuple[IdMapping, ...] = ()
    gid_mappings: tuple[IdMapping, ...] = ()


@dataclass(frozen=True, slots=True)
class Security:
    """What a process may do beyond its user's rights, and what is hidden from it."""

    add: tuple[str, ...] = ()
    """Capabilities, with or without `CAP_`, in either case; `ALL` for every one that is available."""
    drop: tuple[str, ...] = ()
    """`ALL` drops all but those that `add` names; a name drops it even if `add` names it."""
    ambient: tuple[str, ...] = ()
    """Kept across execve(2) by a process that is not root; nothing else is ever inheritable (CVE-2022-24769)."""
    available: tuple[str, ...] = ()
    """What the host can give at most, e.g. `capabilities.of_this_process()`; empty: all."""
    privileged: bool = False
    """All capabilities, nothing masked, sysfs and cgroups writable, no seccomp, AppArmor or SELinux label."""
    no_new_privileges: bool | None = None
    seccomp: Default | Mapping[str, Any] | None = None
    """`seccomp.Default()`, a document of `seccomp.load`, or an empty one for unconfined."""
    apparmor: str | None = None
    selinux_label: str | None = None
    mount_label: str | None = None
    masked_paths: tuple[str, ...] | None = None
    readonly_paths: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class Rdt:
    """Resource director: a class, and what it may have of cache and memory bandwidth."""

    class_id: str = ""
    l3_cache_schema: str = ""
    memory_bandwidth_schema: str = ""


@dataclass(frozen=True, slots=True)
class Resources:
    """Limits in the units of the runtime specification, which are those of cgroup v1; runc converts them for v2."""

    cpu_shares: int | None = None
    cpu_quota: int | None = None
    """Microseconds per period; `resources.quota` makes it from a number of processors."""
    cpu_period: int | None = None
    cpu_burst: int | None = None
    cpu_idle: int | None = None
    cpuset_cpus: str = ""
    cpuset_mems: str = ""
    memory: int | None = None
    """Bytes; -1 for unlimited."""
    memory_swap: int | None = None
    """Bytes of memory and swap together; -1 for unlimited."""
    memory_reservation: int | None = None
    memory_swappiness: int | None = None
    disable_oom_killer: bool = False
    hugepages: tuple[tuple[str, int], ...] = ()
    """(`2MB`, bytes) each."""
    pids: int | None = None
    """Most processes at once; -1 for unlimited."""
    unified: Mapping[str, str] = field(default_factory=dict)
    """Files of cgroup v2 and what to write, e.g. `memory.high`."""
    block_io: Mapping[str, Any] | None = None
    """The specification's `blockIO` object."""
    rdt: Rdt | None = None


@dataclass(frozen=True, slots=True)
class SpecOptions:
    """What differs from the default container."""

    base: Mapping[str, Any] | None = None
    """A whole spec to start from in place of containerd's default one."""

    args: tuple[str, ...] = ()
    """Replaces the image's Cmd; its Entrypoint stays in front."""
    entrypoint: tuple[str, ...] | None = None
    """Replaces the image's Entrypoint; the image's Cmd is then not used."""
    default_env: tuple[str, ...] = ()
    """Set unless the image sets it."""
    env: tuple[str, ...] = ()
    """`KEY=value` sets, a bare `KEY` removes."""
    cwd: str = ""
    user: User = field(default_factory=User)
    terminal: bool = False
    rlimits: tuple[Rlimit, ...] | None = None
    oom_score_adj: int | None = None
    """`oom.clamped` makes it one that this process may set."""

    root: str = "rootfs"
    """Below the bundle, or an absolute path."""
    read_only: bool = False
    rootfs_propagation: str = ""
    """`rshared`, `rslave` …; otherwise what the mounts need."""
    mounts: tuple[SpecMount, ...] = ()
    """One at the place of a default mount replaces it; one at /dev takes all below it away."""
    without_mounts: tuple[str, ...] = ()
    """Places of default mounts that are left out."""
    shm_size: int | None = None
    """Bytes of the default /dev/shm."""
    cgroup_mount: str = ""
    """`ro` or `rw`: the container sees its cgroups at /sys/fs/cgroup."""
    cgroup_mount_options: tuple[str, ...] = ()
    """Of the host's cgroup2 super block, which a mount without a cgroup namespace would change."""

    devices: tuple[Device, ...] = ()
    default_devices: bool = False
    """Allow null, zero, full, random, urandom, tty, console, ptmx and terminals, which runtimes make anyway."""
    all_devices: bool = False
    """Allow every device, also to be made."""

    hostname: str = ""
    domainname: str = ""
    namespaces: Namespaces | None = None
    sysctls: Mapping[str, str] = field(default_factory=dict)
    cgroups_path: str = ""
    """Replaces `/<namespace>/<id>`; `cgroup_paths.below` makes it from a parent."""
    resources: Resources = field(default_factory=Resources)
    security: Security = field(default_factory=Security)
    hooks: Mapping[str, tuple[Hook, ...]] = field(default_factory=dict)
    """By the specification's names: `prestart`, `createRuntime`, `poststop` …"""
    annotations: Mapping[str, str] = field(default_factory=dict)
