"""What transfers work with: the parts of the daemon, and the settings of the plugin."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field

from corten.contracts.diff import Differ
from corten.contracts.leases import LeaseStore
from corten.contracts.metadata import Metadata
from corten.contracts.scope import Scope
from corten.plugin.hooks import HookRelay
from corten.pools import Pools
from corten.registry.sink import StoreSink
from corten.supervisor import Supervisor

from .config import TransferConfig
from .turns import Turns


@dataclass(frozen=True)
class Parts:
    """Made once, on the event loop or off it; `slots` count the downloads of all transfers together."""

    metadata: Metadata
    leases: LeaseStore
    differ: Differ
    pools: Pools
    supervisor: Supervisor
    hooks: HookRelay
    config: TransferConfig
    exports: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    downloads: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(3))
    uploads: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(3))
    unpacking: Turns = field(default_factory=Turns)

    def sink(self, scope: Scope) -> StoreSink:
        """The namespace's content as the registry client writes to it."""

        async def run(call: object, *args: object) -> object:
            return await self.pools.run("content", call, *args)  # type: ignore[arg-type]

        return StoreSink(self.metadata.content(scope), run)
