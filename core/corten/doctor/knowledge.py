"""What the daemon says that it has, asked through its API."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

from corten.api.services.sandbox.v1 import sandbox_pb2
from corten.client.calls import methods
from corten.errors import FailedPrecondition, Unimplemented

from .model import Key, Known

if TYPE_CHECKING:
    from corten.client import Client

RUNTIME = "io.containerd.runtime.v2"
CONTENT = "io.containerd.content.v1"
SNAPSHOTTER = "io.containerd.snapshotter.v1"
LOOKED_INTO = ("overlayfs", "native")
"""Snapshotters that keep each snapshot in a folder of `snapshots`."""
_SANDBOXES = methods(sandbox_pb2, "Store")


async def ask(client: Client, address: str) -> Known:
    """Raises FailedPrecondition for a daemon that is not on this host, and the API's errors."""
    server, plugins = await asyncio.gather(client.introspection.server(), client.introspection.plugins())
    if server.pid and not os.path.exists(f"/proc/{server.pid}"):
        raise FailedPrecondition(f"daemon at {address}: its process {server.pid} is not on this host (run it there)")
    exports = {(plugin.type, plugin.id): plugin.exports for plugin in plugins if plugin.state == "ok"}
    namespaces = [each.name for each in await client.namespaces.list()]
    tasks: set[Key] = set()
    containers: set[Key] = set()
    sandboxes: set[Key] = set()
    pids: set[int] = set()
    digests: set[str] = set()
    ingests = False
    roots = {id: exports[SNAPSHOTTER, id].get("root", "") for id in LOOKED_INTO if (SNAPSHOTTER, id) in exports}
    snapshots = dict.fromkeys(roots, 0)
    for name in namespaces:
        here = client.scoped(namespace=name)
        found = await here.tasks.list()
        tasks |= {(name, task.container_id) for task in found}
        pids |= {task.pid for task in found if task.pid}
        containers |= {(name, container.id) for container in await here.containers.list()}
        sandboxes |= await _sandboxes(here, name)
        digests |= {info.digest async for info in here.content.walk()}
        ingests = ingests or bool(await here.content.statuses())
        for id in roots:
            snapshots[id] += len([info async for info in here.snapshots(id).walk()])
    state = exports.get((RUNTIME, "task"), {}).get("state", "")
    content = next((found.get("root", "") for (type, _), found in exports.items() if type == CONTENT), "")
    return Known(
        address=address,
        state=state,
        content=content,
        namespaces=frozenset(namespaces),
        tasks=frozenset(tasks),
        pids=frozenset(pids),
        containers=frozenset(containers),
        sandboxes=frozenset(sandboxes),
        digests=frozenset(digests),
        ingests=ingests,
        snapshots=snapshots,
        snapshot_roots=roots,
    )


async def collect(client: Client) -> None:
    """Have the daemon collect garbage, and wait until it has."""
    lease = await client.leases.create()
    await client.leases.delete(lease.id, sync=True)
    for plugin in await client.introspection.plugins():
        if plugin.type == SNAPSHOTTER and plugin.id in LOOKED_INTO and plugin.state == "ok":
            await client.snapshots(plugin.id).cleanup()


async def _sandboxes(client: Client, namespace: str) -> set[Key]:
    try:
        answer = await client.calls.unary(_SANDBOXES["List"], sandbox_pb2.StoreListRequest())
    except (Unimplemented, FailedPrecondition):
        return set()
    return {(namespace, each.sandbox_id) for each in answer.list}
