"""The settings of this package's plugins, under containerd's names."""

from corten.config.units import Duration, Size
from corten.values import dataclass


@dataclass(frozen=True, slots=True)
class BinDirConfig:
    """The verifier that asks programs."""

    bin_dir: str = "/opt/containerd/image-verifier/bin"
    """The folder of the programs, all of which are asked; none, or no folder, allows everything."""
    max_verifiers: int = 10
    """The most programs; with more of them there every image is refused. Negative: any number."""
    per_verifier_timeout: Duration = 10.0
    """How long a program may take; after that the image is refused."""
    pass_credentials: bool = False
    """Give the programs the credentials by which the image is pulled, as a docker config in DOCKER_CONFIG."""


@dataclass(frozen=True, slots=True)
class UnpackConfig:
    """With what images are unpacked."""

    platform: str = ""
    """Of the images, e.g. `linux/amd64`; empty: this host's."""
    snapshotter: str = "overlayfs"
    """The snapshotter this is for."""
    differ: str = ""
    """The differ that unpacks; empty: the first of the diff service's order that knows the layers."""
    config_type: str = ""
    """Only images whose config has this media type; empty: any."""
    layer_types: tuple[str, ...] = ()
    """Only images whose layers all have one of these media types; empty: any."""
    optional: bool = False
    """Leave this out, instead of failing, where snapshotter or differ are not there."""


@dataclass(frozen=True, slots=True)
class TransferConfig:
    """How images are moved."""

    max_concurrent_downloads: int = 3
    """Layers fetched at once, by all pulls together."""
    max_concurrent_uploaded_layers: int = 3
    """Layers pushed at once, by all pushes together."""
    max_concurrent_unpacks: int = 0
    """Layers unpacked at once, by all pulls and imports together; 0: as many as there are processors, at least two.

    Those of one image too, if the snapshotter has the capability rebase; else one after the other. Layers that still
    arrive are counted apart, so that a slow registry holds up nothing else."""
    concurrent_layer_fetch_buffer: Size = 4 << 20
    """Bytes of the ranges in which a large layer is fetched over several connections at once; 0: over one."""
    stall_timeout: Duration = 60.0
    """How long a connection to a registry may be silent before it is given up, and tried again."""
    unpack_config: tuple[UnpackConfig, ...] = ()
    """What may be unpacked, and by which differ; the first entry that fits counts. Empty: everything, by any."""
    check_platform_supported: bool = False
    """An entry of `unpack_config` is for images of exactly its platform, not of its operating system."""
    config_path: str = ""
    """Folders of host directories (hosts.toml), separated by colons, for clients that name none."""
    default_snapshotter: str = "overlayfs"
    """The snapshotter to unpack with when a client names none."""
