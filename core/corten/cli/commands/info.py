"""`corten info`."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING, Any

import click

from ..output import format_option, show_fields
from ..session import Session
from ..words import age

if TYPE_CHECKING:
    from corten.client import Client

SNAPSHOTTER = "io.containerd.snapshotter.v1"


@click.command()
@format_option
@click.pass_obj
def info(session: Session, format: str) -> None:
    """Show what the daemon is and has."""
    record = session.run(_read)
    states = ", ".join(f"{count} {state}" for state, count in record["plugins"].items())
    fields = {
        "Address": session.address,
        "Version": record["version"],
        "Revision": record["revision"],
        "UUID": record["uuid"],
        "PID": record["pid"],
        "Plugins": f"{states} (`corten plugins ls` names them)",
        "Snapshotters": ", ".join(record["snapshotters"]) or "-",
        "Namespaces": ", ".join(record["namespaces"]) or "-",
        "Containers": f"{record['containers']} in {session.namespace}, {record['running']} running",
        "Images": f"{record['images']} in {session.namespace}",
        **{f"Deprecated {each['id']}": f"{each['message']} ({each['last']})" for each in record["deprecations"]},
    }
    show_fields(fields, record, format)


async def _read(client: Client) -> dict[str, Any]:
    version, server, plugins = await asyncio.gather(
        client.introspection.version(), client.introspection.server(), client.introspection.plugins()
    )
    namespaces, containers, tasks, images = await asyncio.gather(
        client.namespaces.list(), client.containers.list(), client.tasks.list(), client.images.list()
    )
    return {
        "version": version.version,
        "revision": version.revision,
        "uuid": server.uuid,
        "pid": server.pid,
        "plugins": dict(Counter(plugin.state for plugin in plugins).most_common()),
        "snapshotters": [plugin.id for plugin in plugins if plugin.type == SNAPSHOTTER and plugin.state == "ok"],
        "namespaces": [namespace.name for namespace in namespaces],
        "containers": len(containers),
        "running": sum(task.status == "running" for task in tasks),
        "images": len(images),
        "deprecations": [
            {"id": each.id, "message": each.message, "last": age(each.last_occurrence)} for each in server.deprecations
        ],
    }
