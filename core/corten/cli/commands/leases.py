"""`corten leases …`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from corten.errors import InvalidArgument

from ..output import format_option, show
from ..session import Session
from ..words import age, pairs
from .several import for_each

if TYPE_CHECKING:
    from corten.client import Client
    from corten.contracts.objects import Lease, Resource


@click.group()
def leases() -> None:
    """Make, list and remove leases: what keeps things from garbage collection."""


@leases.command()
@format_option
@click.argument("filters", nargs=-1)
@click.pass_obj
def ls(session: Session, filters: tuple[str, ...], format: str) -> None:
    """List leases and how many things each holds."""

    async def work(client: Client) -> list[tuple[Lease, int]]:
        found = await client.leases.list(filters)
        return [(lease, len(await client.leases.resources(lease.id))) for lease in found]

    found = session.run(work)
    rows = [[lease.id, age(lease.created_at), held, _labels(lease)] for lease, held in found]
    records = [
        {"id": lease.id, "created_at": lease.created_at, "resources": held, "labels": dict(lease.labels)}
        for lease, held in found
    ]
    show(("LEASE", "CREATED", "HOLDS", "LABELS"), rows, records, format)


@leases.command()
@click.option("--id", "id", default="", help="Its name; made up by default.")
@click.option("-x", "--expires", type=float, default=24.0, show_default=True, help="Hours until it ends; 0 for never.")
@click.argument("labels", nargs=-1)
@click.pass_obj
def create(session: Session, id: str, expires: float, labels: tuple[str, ...]) -> None:
    """Make a lease with LABELS (KEY=value), and print its name."""

    async def work(client: Client) -> Lease:
        from corten.gc_expiry import EXPIRE, expiry_time

        if bare := [label for label in labels if "=" not in label]:
            raise InvalidArgument(f"label {bare[0]!r}: write it as KEY=value (a name is given by --id)")
        given = pairs(labels, "label")
        return await client.leases.create(id, {**({EXPIRE: expiry_time(expires * 3600)} if expires else {}), **given})

    click.echo(session.run(work).id)


@leases.command()
@format_option
@click.argument("lease")
@click.pass_obj
def resources(session: Session, lease: str, format: str) -> None:
    """List what LEASE holds."""

    async def work(client: Client) -> list[Resource]:
        return list(await client.leases.resources(lease))

    found = session.run(work)
    show(("TYPE", "ID"), [[r.type, r.id] for r in found], [{"type": r.type, "id": r.id} for r in found], format)


@leases.command()
@click.option("--sync", is_flag=True, help="Return when what only it held is gone.")
@click.argument("names", nargs=-1, required=True)
@click.pass_obj
def rm(session: Session, names: tuple[str, ...], sync: bool) -> int:
    """Remove leases; what only they held is freed."""
    return for_each(session, names, lambda client, name: client.leases.delete(name, sync=sync))


def _labels(lease: Lease) -> str:
    return ",".join(f"{key}={value}" for key, value in sorted(lease.labels.items())) or "-"
