"""The differ walking: layers as tar archives."""

import sys
from dataclasses import dataclass

from corten.contracts.diff import Differ
from corten.plugin.model import PluginContext, Registration, SkipPlugin
from corten.plugin.types import DIFFER


@dataclass(frozen=True)
class WalkingConfig:
    """Settings of the differ walking."""

    max_unpacked_bytes: int = 1 << 40
    """Bytes that one layer may have uncompressed; 0: no limit."""
    max_ratio: int = 500
    """How many times its compressed size a layer may have, once it is over `ratio_free_bytes`; 0: no limit."""
    ratio_free_bytes: int = 4 << 30
    """Uncompressed bytes up to which any ratio is taken."""
    absolute_names: bool = False
    """Take entries with absolute names as relative to the root, instead of refusing the layer."""


def walking() -> Registration:
    return Registration(
        type=DIFFER,
        id="walking",
        init=_init,
        config=WalkingConfig,
        preload=("corten_differs.unpack", "corten_differs.settling", "corten_differs.pack"),
        summary="Unpacks and makes tar layers (plain, gzip, zstd) in worker processes",
    )


def _init(context: PluginContext) -> Differ:
    if sys.platform == "linux":
        from .exchange import Limits
        from .processors import Processors
        from .walking import WalkingDiffer

        config = context.config_as(WalkingConfig)
        limits = Limits(config.max_unpacked_bytes, config.max_ratio, config.ratio_free_bytes)
        target = context.state / "mount"
        return WalkingDiffer(
            context.workers,
            target,
            limits=limits,
            absolute_names=config.absolute_names,
            processors=Processors(context.stream_processors),
        )
    raise SkipPlugin("mounts and file owners as layers have them exist on Linux only")
