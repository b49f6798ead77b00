"""`corten namespaces …`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ..output import format_option, show
from ..session import Session
from ..words import pairs
from .several import for_each

if TYPE_CHECKING:
    from corten.client import Client
    from corten.contracts.objects import Namespace


@click.group()
def namespaces() -> None:
    """Make, list, label and remove namespaces."""


@namespaces.command()
@format_option
@click.pass_obj
def ls(session: Session, format: str) -> None:
    """List namespaces."""

    async def work(client: Client) -> list[Namespace]:
        return await client.namespaces.list()

    found = session.run(work)
    rows = [[n.name, ",".join(f"{k}={v}" for k, v in sorted(n.labels.items())) or "-"] for n in found]
    show(("NAMESPACE", "LABELS"), rows, [{"name": n.name, "labels": dict(n.labels)} for n in found], format)


@namespaces.command()
@click.argument("name")
@click.argument("labels", nargs=-1)
@click.pass_obj
def create(session: Session, name: str, labels: tuple[str, ...]) -> None:
    """Make the namespace NAME with LABELS (KEY=value)."""
    session.run(lambda client: client.namespaces.create(name, pairs(labels, "label")))
    click.echo(name)


@namespaces.command()
@click.argument("name")
@click.argument("labels", nargs=-1, required=True)
@click.pass_obj
def label(session: Session, name: str, labels: tuple[str, ...]) -> None:
    """Set LABELS (KEY=value) of NAME; KEY= removes one."""

    async def work(client: Client) -> None:
        from corten.contracts.objects import Namespace

        given = pairs(labels, "label")
        await client.namespaces.update(Namespace(name, given), [f"labels.{key}" for key in given])

    session.run(work)


@namespaces.command()
@click.argument("names", nargs=-1, required=True)
@click.pass_obj
def rm(session: Session, names: tuple[str, ...]) -> int:
    """Remove namespaces that are empty."""
    return for_each(session, names, lambda client, name: client.namespaces.delete(name))
