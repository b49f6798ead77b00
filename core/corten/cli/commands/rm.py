"""`corten rm`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from corten.errors import FailedPrecondition

from ..session import Session
from .several import for_each

if TYPE_CHECKING:
    from corten.client import Client


@click.command()
@click.option("-f", "--force", is_flag=True, help="Kill it first if it runs.")
@click.argument("containers", nargs=-1, required=True)
@click.pass_obj
def rm(session: Session, containers: tuple[str, ...], force: bool) -> int:
    """Remove CONTAINERS with what they have written."""

    async def step(client: Client, id: str) -> None:
        from corten.client.run import remove

        try:
            await remove(client, id, force=force)
        except FailedPrecondition as error:
            if force:
                raise
            raise FailedPrecondition(f"{error.message} (`corten stop {id}` first, or use --force)") from error

    return for_each(session, containers, step)
