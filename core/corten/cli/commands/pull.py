"""`corten pull`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from ..session import Session
from .common import pull_with_bars, registry_options, snapshotter_option

if TYPE_CHECKING:
    from corten.client import Client


@click.command()
@click.option("--no-unpack", is_flag=True, help="Only fetch; unpack when a container is made.")
@snapshotter_option
@click.option("--all-platforms", is_flag=True, help="Fetch it for every platform; it is unpacked for the one wanted.")
@click.option("--referrers", is_flag=True, help="Fetch what refers to it too: signatures, attestations.")
@click.option("--referrer-type", "types", multiple=True, help="Of these artifact types only; implies --referrers.")
@registry_options
@click.argument("image")
@click.pass_obj
def pull(
    session: Session, /, image: str, no_unpack: bool, referrers: bool, types: tuple[str, ...], **given: Any
) -> None:
    """Fetch IMAGE from its registry and unpack it; prints its full name and digest."""
    snapshotter = "" if no_unpack else given.pop("snapshotter")
    given.pop("snapshotter", None)
    given["referrers"] = types if referrers or types else None

    async def work(client: Client) -> None:
        pulled = await pull_with_bars(client, image, snapshotter=snapshotter, **given)
        click.echo(f"{pulled.name} {pulled.target.digest}")

    session.run(work)
