"""`corten inspect`."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from corten.errors import CortenError, NotFound

from ..output import show_json
from ..reporting import report
from ..session import Session
from .several import tried

if TYPE_CHECKING:
    from corten.client import Client
    from corten.contracts.objects import AnyValue, Container


@click.command()
@click.argument("containers", nargs=-1, required=True)
@click.pass_obj
def inspect(session: Session, containers: tuple[str, ...]) -> int:
    """Show all that is known of CONTAINERS: record, OCI spec, snapshot and its mounts, processes."""
    records: list[dict[str, Any]] = []

    async def step(client: Client, id: str) -> None:
        records.append(await _record(client, id))

    failures = tried(session, containers, step)
    if records:
        show_json(records)
    return max((report(error) for error in failures.values()), default=0)


async def _record(client: Client, id: str) -> dict[str, Any]:
    container = await client.containers.get(id)
    return {
        **_of_container(container),
        "task": await _task(client, id),
        "snapshot": await _snapshot(client, container),
    }


def _of_container(container: Container) -> dict[str, Any]:
    return {
        "id": container.id,
        "image": container.image,
        "labels": dict(container.labels),
        "runtime": {"name": container.runtime.name, "options": _any(container.runtime.options)},
        "sandbox": container.sandbox,
        "created_at": container.created_at,
        "updated_at": container.updated_at,
        "extensions": {key: _any(value) for key, value in container.extensions.items()},
        "spec": _any(container.spec),
    }


async def _task(client: Client, id: str) -> dict[str, Any] | None:
    from corten.client.usage import out_of_memory

    try:
        state = await client.tasks.get(id)
    except NotFound:
        return None
    killed = await out_of_memory(client, [id])
    return {**asdict(state), "processes": [pid for pid, _ in await _pids(client, id)], "oom_killed": id in killed}


async def _pids(client: Client, id: str) -> Any:
    try:
        return await client.tasks.pids(id)
    except CortenError:  # it has ended
        return []


async def _snapshot(client: Client, container: Container) -> dict[str, Any] | None:
    if not container.snapshot_key:
        return None
    snapshots = client.snapshots(container.snapshotter)
    found: dict[str, Any] = {"snapshotter": container.snapshotter, "key": container.snapshot_key}
    try:
        info = await snapshots.stat(container.snapshot_key)
        mounts = await snapshots.mounts(container.snapshot_key)
        return {**found, "parent": info.parent, "kind": str(info.kind), "mounts": [asdict(mount) for mount in mounts]}
    except CortenError as error:
        return {**found, "error": error.message}


def _any(value: AnyValue | None) -> Any:
    """JSON inside as itself, other bytes in hexadecimal."""
    if value is None:
        return None
    try:
        return {"type": value.type_url, "value": json.loads(value.value)}
    except ValueError:
        return {"type": value.type_url, "hex": value.value.hex()}
