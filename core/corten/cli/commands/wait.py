"""`corten wait`."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import click

from ..session import Session

if TYPE_CHECKING:
    from corten.client import Client
    from corten.contracts.runtime import Exit


@click.command()
@click.argument("containers", nargs=-1, required=True)
@click.pass_obj
def wait(session: Session, containers: tuple[str, ...]) -> int:
    """Wait until CONTAINERS have ended; prints an exit code a line. With one container, exits as it did."""

    async def work(client: Client) -> list[Exit]:
        return await asyncio.gather(*(client.tasks.wait(id) for id in containers))

    exits = session.run(work)
    for ended in exits:
        click.echo(ended.status)
    return exits[0].status if len(exits) == 1 else 0
