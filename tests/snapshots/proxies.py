"""A snapshotter in a process of its own, as far as its clients can tell: the snapshots service on a socket."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

from corten.api.services.snapshots.v1 import snapshots_pb2
from corten.contracts.metadata import Metadata
from corten.contracts.scope import Scope
from corten.contracts.snapshots import Snapshotter
from corten.pools import Pools
from corten.supervisor import Supervisor
from corten.wire.catalogue import Catalogue
from corten.wire.grpc.server import GrpcServer
from corten.wire.grpc.unix_listener import UnixListener
from corten.wire.limits import Limits
from corten.wire.service import Service
from corten.wire.unix import Owner
from corten_services.snapshots import SnapshotsService


class Single:
    """What the service asks of metadata, with one snapshotter behind whatever name it is called by."""

    def __init__(self, snapshotter: Snapshotter) -> None:
        self._snapshotter = snapshotter
        self.namespaces: set[str] = set()

    def snapshotter(self, scope: Scope, name: str) -> Snapshotter:
        self.namespaces.add(scope.namespace)
        return self._snapshotter

    def snapshotters(self) -> Mapping[str, Snapshotter]:
        return {"proxied": self._snapshotter}


class Provider:
    """What the server serves."""

    def __init__(self, service: Any) -> None:
        self.services = (Service(snapshots_pb2.DESCRIPTOR.services_by_name["Snapshots"], service),)


@asynccontextmanager
async def served(path: Path, snapshotter: Snapshotter) -> AsyncIterator[Single]:
    """The snapshotter on the socket `path` while the block runs."""
    metadata, pools, supervisor = Single(snapshotter), Pools(), Supervisor()
    provider = Provider(SnapshotsService(cast("Metadata", metadata), pools))
    server = GrpcServer(
        UnixListener(str(path), Owner()), Catalogue({"proxied": provider}, None), supervisor, Limits(stop_grace=0.5)
    )
    await server.start()
    try:
        yield metadata
    finally:
        await server.close()
        await supervisor.close(1.0)
        pools.close()
        await asyncio.sleep(0)
