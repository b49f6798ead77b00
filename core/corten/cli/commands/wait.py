"""`corten wait`."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import click

from ..reporting import say_out_of_memory
from ..session import Session
from .common import ProcessCommand

if TYPE_CHECKING:
    from corten.client import Client
    from corten.contracts.runtime import Exit


@click.command(cls=ProcessCommand)
@click.argument("containers", nargs=-1, required=True)
@click.pass_obj
def wait(session: Session, containers: tuple[str, ...]) -> int:
    """Wait until CONTAINERS have ended; prints an exit code a line. With one container, exits as it did."""

    ended = session.run(lambda client: _ended(client, containers))
    for each in ended:
        click.echo(each.status)
    return ended[0].status if len(ended) == 1 else 0


async def _ended(client: Client, ids: tuple[str, ...]) -> list[Exit]:
    from corten.client.usage import out_of_memory

    ended = await asyncio.gather(*(client.tasks.wait(id) for id in ids))
    failed = [id for id, each in zip(ids, ended, strict=True) if each.status]
    for used in (await out_of_memory(client, failed)).values():
        say_out_of_memory(used)
    return ended
