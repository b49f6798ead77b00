"""Root file systems whose mounts need more than mount(2): activated for a task, and given back when it is gone."""

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from corten.api.types import introspection_pb2
from corten.contracts.mounts import Mount, MountManager
from corten.contracts.runtime import CreateOptions, ShimProvider
from corten.contracts.scope import Scope
from corten.errors import AlreadyExists, CortenError, NotFound
from corten.pools import Pools

log = logging.getLogger(__name__)
MARKER = "activation"
"""In the bundle of a task that has one."""
ALLOWED = "containerd.io/runtime-allow-mounts"
"""Annotation by which a shim says which types of mounts it does itself."""
_KEEPER = "containerd.io/gc.bref.container"


class Roots:
    """`manager` is None where there is none: then every mount is the shim's to do."""

    def __init__(self, manager: MountManager | None, pools: Pools) -> None:
        self._manager, self._pools = manager, pools

    async def prepare(
        self, namespace: str, id: str, bundle: str, provider: ShimProvider, options: CreateOptions
    ) -> CreateOptions:
        """The options with the mounts that are left for the shim. Raises the manager's errors."""
        manager = self._manager
        if manager is None or not manager.needed(options.rootfs):
            return options
        allowed = await _allowed(provider, options)
        if not manager.needed(options.rootfs, allowed):
            return options
        (Path(bundle) / MARKER).touch(mode=0o600)
        left = await self._pools.run("mounts", self._activate, manager, namespace, id, options.rootfs, allowed)
        return replace(options, rootfs=left)

    def used(self, bundle: Path) -> bool:
        """Whether `prepare` did anything for the task of this bundle."""
        return self._manager is not None and (bundle / MARKER).exists()

    async def give_back(self, namespace: str, id: str) -> None:
        """Undo what `prepare` did; what cannot be undone now is left to the collector. Raises nothing."""
        if self._manager is None:
            return
        try:
            await self._pools.run("mounts", self._manager.deactivate, namespace, id)
        except NotFound:
            return
        except CortenError as error:
            log.warning("task %s/%s: its mounts cannot be undone now: %s", namespace, id, error.message)

    @staticmethod
    def _activate(
        manager: MountManager, namespace: str, id: str, rootfs: Sequence[Mount], allowed: Sequence[str]
    ) -> Sequence[Mount]:
        try:
            made = manager.activate(Scope(namespace), id, rootfs, labels={_KEEPER: id}, allowed=allowed)
        except AlreadyExists:  # of an earlier task of this container, whose end was cut off
            made = manager.info(namespace, id)
        return made.system


async def _allowed(provider: ShimProvider, options: CreateOptions) -> Sequence[str]:
    runtime = options.runtime_path or options.runtime.name
    try:
        info = introspection_pb2.RuntimeInfo.FromString((await provider.plugin_info(runtime, None)).value)
    except CortenError as error:
        log.debug("runtime %s: it does not say which mounts it does: %s", runtime, error.message)
        return ()
    return [word.strip() for word in info.annotations.get(ALLOWED, "").split(",") if word.strip()]
