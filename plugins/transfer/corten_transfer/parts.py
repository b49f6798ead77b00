"""What transfers work with: the parts of the daemon, and the settings of the plugin."""

import asyncio
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from corten.contracts.leases import LeaseStore
from corten.contracts.metadata import Metadata
from corten.contracts.scope import Scope
from corten.plugin.hooks import HookRelay
from corten.plugin.model import PluginView
from corten.plugin.types import SNAPSHOTTER
from corten.pools import Pools
from corten.registry.sink import StoreSink
from corten.registry.source import StoreSource
from corten.supervisor import Supervisor

from .config import TransferConfig
from .turns import Turns
from .unpacking_choice import UnpackChoice
from .verifying import Verifiers

CONVERSIONS = max(1, os.cpu_count() or 1)
"""Layers compressed at once, by all conversions together."""


@dataclass(frozen=True)
class Parts:
    """Made once, on the event loop or off it; `slots` count the downloads of all transfers together."""

    metadata: Metadata
    leases: LeaseStore
    differs: UnpackChoice
    pools: Pools
    supervisor: Supervisor
    hooks: HookRelay
    config: TransferConfig
    plugins: Mapping[str, PluginView]
    """Every plugin of the daemon by URI."""
    downloads: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(3))
    uploads: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(3))
    unpacks: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(2))
    arriving: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(2))
    """Layers that are unpacked while they arrive."""
    conversions: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(CONVERSIONS))
    unpacking: Turns = field(default_factory=Turns)
    verifiers: Verifiers = field(default_factory=Verifiers)

    def rebases(self, snapshotter: str) -> bool:
        """Whether a snapshotter takes a parent at commit, so that layers can be unpacked side by side."""
        plugin = self.plugins.get(f"{SNAPSHOTTER}.{snapshotter}")
        return plugin is not None and "rebase" in plugin.capabilities

    def remote(self, snapshotter: str) -> bool:
        """Whether a snapshotter may have layers without their blobs; such ones ask for what they find layers by."""
        plugin = self.plugins.get(f"{SNAPSHOTTER}.{snapshotter}")
        return plugin is not None and plugin.exports.get("enable_remote_snapshot_annotations") == "true"

    def sink(self, scope: Scope) -> StoreSink:
        """The namespace's content as the registry client writes to it."""
        return StoreSink(self.metadata.content(scope), self.run)

    def source(self, scope: Scope) -> StoreSource:
        """The namespace's content as pushes and exports read it."""
        return StoreSource(self.metadata.content(scope), self.run)

    async def run(self, call: Callable[..., Any], *args: Any) -> Any:
        """Call something that blocks, on content."""
        return await self.pools.run("content", call, *args)

    async def wait_for_client(self, call: Callable[..., Any], *args: Any) -> Any:
        """Call something that waits for what a client sends: apart, so that slow clients hold up nothing else."""
        return await self.pools.run("imports", call, *args)
