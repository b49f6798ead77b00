"""`corten attach`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ..session import Session
from .common import ProcessCommand, detach_keys_option, on_terminal

if TYPE_CHECKING:
    from corten.client import Client


@click.command(cls=ProcessCommand)
@detach_keys_option("With a terminal: leave it running. Without one, the third ctrl-c does.")
@click.argument("container")
@click.pass_obj
def attach(session: Session, container: str, detach_keys: str) -> int:
    """Connect the terminal to CONTAINER, which was started with -t or -i and is not attached elsewhere."""
    return session.run(lambda client: _attach(client, container, detach_keys))


async def _attach(client: Client, id: str, keys: str) -> int:
    from corten.client.process import Process
    from corten.client.process import attach as attached

    from ..foreground import Foreground

    tty = (await client.tasks.get(id)).stdio.terminal
    foreground = Foreground(tty and on_terminal(), True, keys, joined=True)

    async def begin() -> Process:
        process = await attached(client, id, foreground.streams, foreground.keys)
        process.follow()
        return process

    return await foreground.follow(client, begin, delete=False)
