"""The settings of `io.containerd.cri.v1.images`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field

from corten.config.units import Duration, Size
from corten.values import dataclass


@dataclass(frozen=True, slots=True)
class Mirror:
    """Older form of host directories."""

    endpoint: tuple[str, ...] = ()
    """URLs that are asked in this order."""


@dataclass(frozen=True, slots=True)
class RegistryAuth:
    """Credentials for a registry."""

    username: str = ""
    """User name."""
    password: str = field(default="", repr=False)
    """Password."""
    auth: str = field(default="", repr=False)
    """Both as `user:password` in base64."""
    identitytoken: str = field(default="", repr=False)
    """Refresh token."""


@dataclass(frozen=True, slots=True)
class RegistryHost:
    """Older form of host directories."""

    auth: RegistryAuth | None = None
    """Credentials for pulls that bring none."""


@dataclass(frozen=True, slots=True)
class Registry:
    """How registries are reached."""

    config_path: str = "/etc/containerd/certs.d:/etc/docker/certs.d"
    """Folders of host directories (hosts.toml), separated by colons."""
    mirrors: Mapping[str, Mirror] = field(default_factory=dict)
    """By host, `*` for all others. Deprecated: write host directories, which these are made into."""
    configs: Mapping[str, RegistryHost] = field(default_factory=dict)
    """By `host[:port]`: credentials for pulls that bring none. Deprecated."""
    auths: Mapping[str, RegistryAuth] = field(default_factory=dict)
    """By host or URL, over `configs`. Deprecated."""
    headers: Mapping[str, list[str]] = field(default_factory=dict)
    """Further headers for all registries."""


@dataclass(frozen=True, slots=True)
class ImageDecryption:
    """Encrypted images."""

    key_model: str = "node"
    """Whose keys are used: `node` for those of the host, empty for none."""


@dataclass(frozen=True, slots=True)
class RuntimePlatform:
    """Which image a runtime handler wants."""

    platform: str = ""
    """`os/architecture[/variant]`; empty: the host's."""
    snapshotter: str = ""
    """Id of the snapshotter; empty: the default one."""


@dataclass(frozen=True, slots=True)
class ImagesConfig:
    """How images are pulled and kept for pods."""

    snapshotter: str = "overlayfs"
    """Where images are unpacked."""
    disable_snapshot_annotations: bool = True
    """Accepted: a snapshotter is told of which image a layer is if it exports `enable_remote_snapshot_annotations`."""
    discard_unpacked_layers: bool = False
    """Let gc remove the blobs of layers that are unpacked."""
    pinned_images: Mapping[str, str] = field(default_factory=lambda: {"sandbox": "registry.k8s.io/pause:3.10.2"})
    """Images that the kubelet must not remove, by use; `sandbox` is the pause image."""
    runtime_platforms: Mapping[str, RuntimePlatform] = field(default_factory=dict)
    """By runtime handler."""
    registry: Registry = field(default_factory=Registry)
    """How registries are reached."""
    image_decryption: ImageDecryption = field(default_factory=ImageDecryption)
    """Accepted: encrypted images are read by stream processors, where such are configured."""
    max_concurrent_downloads: int = 3
    """Layers fetched at once; the setting of the transfer plugin is the one that counts."""
    concurrent_layer_fetch_buffer: Size = 0
    """Bytes of the ranges of a large layer; 0: as the transfer plugin is set."""
    image_pull_progress_timeout: Duration = 300.0
    """A pull that gets no byte for so long is given up; 0: never."""
    image_pull_with_sync_fs: bool = False
    """Sync the file system after each layer; accepted: a snapshot is always synced before it is committed."""
    stats_collect_period: int = 10
    """Seconds between measurements of how much snapshots hold."""
    use_local_image_pull: bool = False
    """Accepted: there is one way to pull, with image verifiers, whatever else is set."""
