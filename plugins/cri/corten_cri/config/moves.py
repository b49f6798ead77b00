"""Where the settings of versions 1 to 3 went, which had all of CRI in `io.containerd.grpc.v1.cri`."""

from corten.config.typed import keys
from corten.plugin.model import Move

from .images import ImagesConfig
from .runtime import Cni, Containerd, RuntimeConfig

OLD = "io.containerd.grpc.v1.cri"
_VERSION = 3
_TO_IMAGES = (
    "registry",
    "image_decryption",
    "max_concurrent_downloads",
    "image_pull_progress_timeout",
    "image_pull_with_sync_fs",
    "stats_collect_period",
)
_TO_IMAGES_FROM_CONTAINERD = ("snapshotter", "disable_snapshot_annotations", "discard_unpacked_layers")


def to_images() -> tuple[Move, ...]:
    """What is `io.containerd.cri.v1.images` now."""
    flat = [_move((name,), (name,)) for name in _TO_IMAGES if name in keys(ImagesConfig)]
    nested = [_move(("containerd", name), (name,)) for name in _TO_IMAGES_FROM_CONTAINERD]
    return (_move(("sandbox_image",), ("pinned_images", "sandbox")), *flat, *nested)


def to_runtime() -> tuple[Move, ...]:
    """What is `io.containerd.cri.v1.runtime` now."""
    flat = [name for name in keys(RuntimeConfig) if name not in ("containerd", "cni", *_TO_IMAGES)]
    paths = [
        *((name,) for name in flat),
        *(("containerd", name) for name in keys(Containerd)),
        *(("cni", name) for name in keys(Cni)),
    ]
    return tuple(_move(path, path) for path in paths)


def _move(old: tuple[str, ...], new: tuple[str, ...]) -> Move:
    return Move(_VERSION, OLD, old, new)
