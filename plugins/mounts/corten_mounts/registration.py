"""The registrations of this package; imports nothing of what they start."""

import sys

from corten.plugin.model import PluginContext, Registration, SkipPlugin, each, one
from corten.plugin.types import METADATA, MOUNT_HANDLER, MOUNT_MANAGER

_NOT_HERE = "mounts need Linux"


def plugins() -> tuple[Registration, ...]:
    """Entry point `mounts`. The manager's id is what containerd's `bolt` is translated to in settings."""
    return (
        Registration(type=MOUNT_HANDLER, id="loop", init=_loop, summary="Makes block devices of files."),
        Registration(type=MOUNT_HANDLER, id="erofs", init=_erofs, summary="Mounts erofs images from files."),
        Registration(
            type=MOUNT_MANAGER,
            id="lmdb",
            init=_manager,
            requires=(one(METADATA), each(MOUNT_HANDLER)),
            summary="Does mounts that need handlers, templates or files made first, and takes them away again.",
        ),
    )


def _loop(context: PluginContext) -> object:
    if sys.platform == "linux":
        from .handlers import LoopHandler

        return LoopHandler()
    raise SkipPlugin(_NOT_HERE)


def _erofs(context: PluginContext) -> object:
    if sys.platform == "linux":
        from .handlers import ErofsHandler

        return ErofsHandler()
    raise SkipPlugin(_NOT_HERE)


def _manager(context: PluginContext) -> object:
    if sys.platform == "linux":
        from pathlib import Path

        from .collector import KIND, MountCollector
        from .manager import Mounts

        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        made = Mounts(context.state, context.each(MOUNT_HANDLER), [context.root.parent], boot)
        made.recover()
        register = getattr(context.one(METADATA), "register_collector", None)
        if register is not None:  # a store of third parties may have no such door
            register(KIND, MountCollector(made))
        return made
    raise SkipPlugin(_NOT_HERE)
