"""Snapshotters: overlayfs and native."""

import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from corten.contracts.snapshots import Snapshotter
from corten.plugin.model import PluginContext, Registration, SkipPlugin
from corten.plugin.types import SNAPSHOTTER


@dataclass(frozen=True)
class OverlayfsConfig:
    """Settings of the overlayfs snapshotter."""

    root_path: str = ""
    """Directory for the snapshots; empty: the plugin's own under the daemon's root."""
    upperdir_label: bool = False
    """Show each snapshot's upper directory as the label `containerd.io/snapshot/overlay.upperdir`."""
    sync_remove: bool = False
    """Delete files within `remove`; otherwise the garbage collector's cleanup does it."""
    slow_chown: bool = False
    """Do not announce `only-remap-ids`: clients may then change the owners of all files where ids cannot be mapped."""
    mount_options: tuple[str, ...] = ()
    """Options put before those of every overlay mount, `volatile` for example."""


@dataclass(frozen=True)
class NativeConfig:
    """Settings of the native snapshotter."""

    root_path: str = ""
    """Directory for the snapshots; empty: the plugin's own under the daemon's root."""


def overlayfs() -> Registration:
    return Registration(
        type=SNAPSHOTTER,
        id="overlayfs",
        init=_overlayfs,
        config=OverlayfsConfig,
        preload=("corten_snapshotters.remapping",),
        summary="Snapshots as layers of an overlay mount",
    )


def native() -> Registration:
    return Registration(
        type=SNAPSHOTTER,
        id="native",
        init=_native,
        config=NativeConfig,
        summary="Snapshots as full copies, on any file system",
    )


def _overlayfs(context: PluginContext) -> Snapshotter:
    if sys.platform == "linux":
        from .overlayfs import OverlayfsSnapshotter, unsupported
        from .remapping import Remapping

        config = context.config_as(OverlayfsConfig)
        root = _root(context, config.root_path)
        if reason := unsupported(root):
            raise SkipPlugin(f"{reason}; use the snapshotter native, or another root_path")
        context.export("root", str(root))
        snapshotter = OverlayfsSnapshotter(
            root,
            mount_options=config.mount_options,
            upperdir_label=config.upperdir_label,
            sync_remove=config.sync_remove,
            remapping=Remapping(lambda: context.workers, str(root)),
            announce=partial(context.capability, "remap-ids"),
        )
        if not config.slow_chown:
            context.capability("only-remap-ids")
        if snapshotter.rebases:
            context.capability("rebase")
        return snapshotter
    raise SkipPlugin("overlay mounts exist on Linux only")


def _native(context: PluginContext) -> Snapshotter:
    if sys.platform == "linux":
        from .native import NativeSnapshotter

        root = _root(context, context.config_as(NativeConfig).root_path)
        context.export("root", str(root))
        return NativeSnapshotter(root)
    raise SkipPlugin("bind mounts exist on Linux only")


def _root(context: PluginContext, configured: str) -> Path:
    return Path(configured) if configured else context.root
