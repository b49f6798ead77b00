"""The settings of `io.containerd.transfer.v1.local`, under containerd's names."""

from dataclasses import dataclass

from corten.config.units import Size


@dataclass(frozen=True, slots=True)
class TransferConfig:
    """How images are moved."""

    max_concurrent_downloads: int = 3
    """Layers fetched at once, by all pulls together."""
    max_concurrent_uploaded_layers: int = 3
    """Layers pushed at once, by all pushes together."""
    max_concurrent_unpacks: int = 8
    """Layers unpacked at once, by all pulls and imports together; those of one image one after the other."""
    concurrent_layer_fetch_buffer: Size = 4 << 20
    """Bytes of the ranges in which a large layer is fetched over several connections at once; 0: over one."""
    config_path: str = ""
    """Folders of host directories (hosts.toml), separated by colons, for clients that name none."""
    default_snapshotter: str = "overlayfs"
    """The snapshotter to unpack with when a client names none."""
