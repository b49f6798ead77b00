"""The settings of `io.containerd.cri.v1.runtime`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import field
from typing import Any, Literal

from corten.config.units import Duration, Size
from corten.errors import InvalidArgument
from corten.values import dataclass

_RUNC = re.compile(r"(^|[./-])(runc|corten)[.-]v\d+$")
"""Shims that need no container of the pod itself before others: by name of the runtime or of the binary."""


@dataclass(frozen=True, slots=True)
class Handler:
    """A runtime class: how pods that name this handler are run."""

    runtime_type: str = "io.containerd.runc.v2"
    """Name of the runtime, as for tasks."""
    runtime_path: str = ""
    """Absolute path of the shim binary, in place of the one that the name means."""
    pod_annotations: tuple[str, ...] = ()
    """Annotations of pods, by pattern, that go into the OCI spec of the pod and of its containers."""
    container_annotations: tuple[str, ...] = ()
    """Annotations of containers, by pattern, that go into their OCI spec."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Options of the runtime: for runc NoNewKeyring, ShimCgroup, IoUid, IoGid, BinaryName, Root, SystemdCgroup,
    CriuImagePath and CriuWorkPath; for others TypeUrl, ConfigPath and ConfigBody."""
    privileged_without_host_devices: bool = False
    """Privileged containers do not get the devices of the host."""
    privileged_without_host_devices_all_devices_allowed: bool = False
    """With the key above: they may use any device that they make."""
    cgroup_writable: bool = False
    """Containers that are not privileged may write to their cgroups; cgroup v2 only."""
    base_runtime_spec: str = ""
    """File with an OCI spec as JSON, from which every container of this handler is made."""
    cni_conf_dir: str = ""
    """Folder with the network configuration of this handler's pods; empty: that of all."""
    cni_max_conf_num: int = 0
    """How many files of that folder are used; 0: all."""
    snapshotter: str = ""
    """Snapshotter of this handler's containers; empty: the one of the images plugin."""
    sandboxer: str = "podsandbox"
    """Who makes sandboxes: `podsandbox`, or `shim` for a runtime whose shim does it."""
    disable_pause_image_pull: bool = False
    """Do not see to it that the pause image is there; it is wanted only where a pod has it from the start."""
    io_type: Literal["", "fifo", "streaming"] = "fifo"
    """How stdio gets in and out of containers: FIFOs, or streams of the streaming API, which the shim must serve."""
    pause: Literal["", "needed", "soon", "always"] = ""
    """Corten's own: when a pod has a pause process. `needed`: once a container wants the pod's process namespace;
    `soon`: then, or a second after the pod is ready, so that the kubelet finds its network statistics; both times it is
    Corten's own program. `always`: from the start, from the image `sandbox` in `pinned_images` of images. Empty: `soon`
    for runc, `always` for every other runtime, as some make their sandbox of it."""

    @property
    def pausing(self) -> str:
        """`pause`, or what it is for this runtime where that is empty."""
        if self.pause:
            return self.pause
        return "soon" if _RUNC.search(self.runtime_path or self.runtime_type) else "always"


@dataclass(frozen=True, slots=True)
class Containerd:
    """Which runtimes there are."""

    default_runtime_name: str = "runc"
    """The handler of pods that name none."""
    runtimes: Mapping[str, Handler] = field(default_factory=lambda: {"runc": Handler()})
    """Handlers by the name that a RuntimeClass uses; `runc` is there also when only others are set."""
    ignore_blockio_not_enabled_errors: bool = False
    """Accepted; an annotation that asks for a blockio class, which is not supported, is an error unless this is set."""
    ignore_rdt_not_enabled_errors: bool = False
    """Accepted; an annotation that asks for an RDT class, which is not supported, is an error unless this is set."""


@dataclass(frozen=True, slots=True)
class Cni:
    """How pods get their network."""

    bin_dir: str = ""
    """Folder of the plugins; the older form of `bin_dirs`, which it replaces."""
    bin_dirs: tuple[str, ...] = ("/opt/cni/bin",)
    """Folders of the plugins."""
    conf_dir: str = "/etc/cni/net.d"
    """Folder of the network configuration; watched."""
    max_conf_num: int = 1
    """How many of its files are used, in the order of their names; 0: all."""
    setup_serially: bool = False
    """Attach several networks one after the other."""
    conf_template: str = ""
    """Template from which a configuration is written once the kubelet tells the pod CIDR."""
    ip_pref: Literal["", "ipv4", "ipv6", "cni"] = ""
    """Which address is a pod's main one; empty is `ipv4`, `cni` the first that the plugins name."""
    use_internal_loopback: bool = False
    """Leave `lo` out of what tools are told of a pod; it is brought up without the loopback plugin in any case."""
    plugin_deadline: Duration = 120.0
    """Corten's own: a plugin that runs longer is killed, with all that it started."""


@dataclass(frozen=True, slots=True)
class RuntimeConfig:
    """How pods and containers are run."""

    containerd: Containerd = field(default_factory=Containerd)
    """Which runtimes there are."""
    cni: Cni = field(default_factory=Cni)
    """How pods get their network."""
    enable_selinux: bool = False
    """Label processes and files; the host must have SELinux."""
    selinux_category_range: int = 1024
    """Upper bound of the categories given to pods."""
    max_container_log_line_size: int = 16 << 10
    """Bytes after which a log line is written in parts; 0 or less: no limit."""
    disable_apparmor: bool = False
    """Do without AppArmor even where the host has it."""
    restrict_oom_score_adj: bool = False
    """Raise an oom_score_adj that is below the daemon's own to that; what the kernel refuses is raised anyway."""
    disable_proc_mount: bool = False
    """Masked and read-only paths of requests are not looked at, and the default ones are used."""
    unset_seccomp_profile: str = ""
    """Profile of containers that name none: empty for unconfined, `runtime/default`, or `localhost/FILE`."""
    tolerate_missing_hugetlb_controller: bool = True
    """Limits of huge pages are left out where the host has no cgroup controller for them."""
    disable_hugetlb_controller: bool = True
    """Limits of huge pages are not set, even where the host has a controller for them."""
    device_ownership_from_security_context: bool = False
    """Devices in containers belong to the user that the container runs as."""
    ignore_image_defined_volumes: bool = False
    """No folders are made for the volumes that an image names."""
    netns_mounts_under_state_dir: bool = False
    """Network namespaces are pinned below the state folder and not in /var/run/netns."""
    enable_unprivileged_ports: bool = True
    """Ports below 1024 may be opened by anybody in the pod."""
    enable_unprivileged_icmp: bool = True
    """Anybody in the pod may send pings."""
    enable_cdi: bool = True
    """Devices by the Container Device Interface."""
    cdi_spec_dirs: tuple[str, ...] = ("/etc/cdi", "/var/run/cdi")
    """Where their descriptions lie; later ones win."""
    drain_exec_sync_io_timeout: Duration = 0.0
    """How long the output of an ended ExecSync is waited for when something still holds it open, before the call fails;
    0 means the 10 s after which the shim closes it, and no failure (in containerd there is no limit then)."""
    ignore_deprecation_warnings: tuple[str, ...] = ()
    """Ids of deprecation warnings that do not count for the condition of the same name."""
    stats_collect_period: Duration = 1.0
    """How often the use of processors is sampled."""
    stats_retention_period: Duration = 120.0
    """How long the samples are kept."""
    enable_criu: bool = True
    """Allow checkpoints."""
    max_exec_sync_output: Size = 16 << 20
    """Corten's own: bytes of each stream that ExecSync returns at most, both together no more than fit in a message;
    the rest is read and dropped."""

    def handler(self, name: str) -> tuple[str, Handler]:
        """The handler of that name, or the default one for the empty name. Raises InvalidArgument."""
        name = name or self.containerd.default_runtime_name
        if found := self.handlers.get(name):
            return name, found
        known = ", ".join(sorted(self.handlers))
        raise InvalidArgument(f'runtime handler "{name}": no such handler is configured (there are: {known})')

    @property
    def handlers(self) -> Mapping[str, Handler]:
        """All handlers by name."""
        return {"runc": Handler(), **self.containerd.runtimes}

    @property
    def cni_bin_dirs(self) -> tuple[str, ...]:
        """Where CNI plugins are looked for."""
        return (self.cni.bin_dir,) if self.cni.bin_dir else self.cni.bin_dirs


def check(config: RuntimeConfig) -> None:
    """Raises InvalidArgument for settings that contradict each other."""
    config.handler("")
    if config.cni.bin_dir and config.cni.bin_dirs not in ((), Cni().bin_dirs, (config.cni.bin_dir,)):
        raise InvalidArgument("cni.bin_dir and cni.bin_dirs are both set: keep bin_dirs")
    for name, handler in config.handlers.items():
        _check_handler(f"runtime handler {name}", handler)


def _check_handler(what: str, handler: Handler) -> None:
    if handler.privileged_without_host_devices_all_devices_allowed and not handler.privileged_without_host_devices:
        raise InvalidArgument(
            f"{what}: privileged_without_host_devices_all_devices_allowed needs privileged_without_host_devices"
        )
    if handler.runtime_path and not handler.runtime_path.startswith("/"):
        raise InvalidArgument(f"{what}: runtime_path {handler.runtime_path!r} must be absolute")
    if handler.sandboxer not in ("podsandbox", ""):
        raise InvalidArgument(f"{what}: sandboxer {handler.sandboxer!r}: this version has podsandbox only")
