"""The settings of `io.containerd.cri.v1.images`, under containerd's names."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from corten.config.units import Duration


@dataclass(frozen=True, slots=True)
class AuthSettings:
    """Who one is at a registry, for pulls that bring no credentials of their own."""

    username: str = ""
    """User name."""
    password: str = field(default="", repr=False)
    """Password."""
    auth: str = field(default="", repr=False)
    """`user:password` in base64."""
    identitytoken: str = field(default="", repr=False)
    """Refresh token."""


@dataclass(frozen=True, slots=True)
class HostSettings:
    """What is known of one registry."""

    auth: AuthSettings | None = None
    """Credentials for pulls that bring none."""


@dataclass(frozen=True, slots=True)
class RegistrySettings:
    """How registries are reached."""

    config_path: str = "/etc/containerd/certs.d:/etc/docker/certs.d"
    """Folders of host directories (hosts.toml), separated by colons."""
    headers: Mapping[str, list[str]] = field(default_factory=dict)
    """Headers for all registries."""
    configs: Mapping[str, HostSettings] = field(default_factory=dict)
    """By `host[:port]`: credentials for pulls that bring none."""


@dataclass(frozen=True, slots=True)
class PlatformSettings:
    """Which image a runtime handler wants, and where it is unpacked."""

    platform: str = ""
    """`os/architecture[/variant]`; empty: the host's."""
    snapshotter: str = ""
    """Id of the snapshotter; empty: the default one."""


@dataclass(frozen=True, slots=True)
class ImagesConfig:
    """How the kubelet's images are pulled and kept."""

    snapshotter: str = "overlayfs"
    """Id of the snapshotter that images are unpacked with."""
    disable_snapshot_annotations: bool = True
    """Accepted; what images say for remote snapshotters is passed on by the transfer plugin."""
    discard_unpacked_layers: bool = False
    """Accepted; layers are kept in the content store."""
    pinned_images: Mapping[str, str] = field(default_factory=lambda: {"sandbox": "registry.k8s.io/pause:3.10.2"})
    """Images that the kubelet must not remove, each under a key of one's choice; `sandbox` is the pause image."""
    runtime_platforms: Mapping[str, PlatformSettings] = field(default_factory=dict)
    """By runtime handler: platform and snapshotter of its images."""
    registry: RegistrySettings = RegistrySettings()
    """How registries are reached."""
    max_concurrent_downloads: int = 3
    """Accepted; the transfer plugin has the setting in force."""
    concurrent_layer_fetch_buffer: int = 0
    """Accepted; the transfer plugin has the setting in force."""
    image_pull_progress_timeout: Duration = 300.0
    """How long a pull may go on without a byte before it is given up; 0: ever."""
    image_pull_with_sync_fs: bool = False
    """Accepted; unpacked layers are on disk before they are recorded, always."""
    stats_collect_period: int = 10
    """Seconds after which the disk use of snapshots is measured anew when someone asks for it."""
    use_local_image_pull: bool = False
    """Accepted; there is but one way to pull."""
