"""How the parts about images are made of the daemon's other plugins."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from corten.contracts.metrics import Metric
from corten.plugin.model import PluginContext
from corten.plugin.types import EVENT, GC, METADATA, SNAPSHOTTER, TRANSFER, WARNING

from ..config.images import ImagesConfig
from .at_hand import AtHand
from .catalog import SCOPE, Images
from .mirrors import deprecations, host_folders
from .pulling import Pulls
from .service import ImageService
from .transfers import Transfers
from .usage import SnapshotUsage


@dataclass(frozen=True)
class ImageParts:
    """The instance of `io.containerd.cri.v1.images`: `images` and `usage` are for container creation and statistics."""

    images: Images
    pulls: Pulls
    usage: SnapshotUsage
    service: ImageService
    config: ImagesConfig
    at_hand: AtHand

    async def start(self) -> None:
        await self.images.start()

    async def tell_metrics(self) -> Sequence[Metric]:
        """As `TellsMetrics` says."""
        return self.pulls.metrics()


def image_parts(context: PluginContext) -> ImageParts:
    """`context` requires METADATA, EVENT, GC, each TRANSFER and each WARNING."""
    config = context.config_as(ImagesConfig)
    metadata, pools, supervisor = context.one(METADATA), context.pools, context.supervisor
    transfers = Transfers(list(context.each(TRANSFER).values()))
    images = Images(metadata, context.one(EVENT), transfers, pools, supervisor, config)
    pulls = Pulls(images, transfers, supervisor, config, host_folders(config.registry, context.state))
    for id, text in deprecations(config.registry):
        for warnings in context.each(WARNING).values():
            warnings.emit(id, text)
    chosen = _snapshotters(config)
    root_of, period = partial(_root, context), config.stats_collect_period
    usage = SnapshotUsage(metadata, SCOPE, chosen, root_of, period, pools, supervisor)
    service = ImageService(images, pulls, usage, context.one(GC), pools)
    return ImageParts(images, pulls, usage, service, config, AtHand(transfers, pools, supervisor))


def _snapshotters(config: ImagesConfig) -> Sequence[str]:
    further = [each.snapshotter for each in config.runtime_platforms.values() if each.snapshotter]
    return list(dict.fromkeys([config.snapshotter, *further]))


def _root(context: PluginContext, snapshotter: str) -> str:
    """Where a snapshotter keeps its trees: as it says, else the plugin's own folder."""
    uri = f"{SNAPSHOTTER}.{snapshotter}"
    view = context.plugins.get(uri)
    return (view.exports.get("root", "") if view else "") or str(context.root.parent / uri)
