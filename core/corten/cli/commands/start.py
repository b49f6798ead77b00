"""`corten start`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from ..session import Session
from .common import ProcessCommand, on_terminal

if TYPE_CHECKING:
    from corten.client import Client


@click.command(cls=ProcessCommand)
@click.option("-a", "--attach", is_flag=True, help="Stay connected to it; with its terminal, if it has one.")
@click.argument("container")
@click.pass_obj
def start(session: Session, container: str, attach: bool) -> int:
    """Start CONTAINER, which does not run (any more)."""
    return session.run(lambda client: _start(client, container, attach))


async def _start(client: Client, id: str, attach: bool) -> int:
    from corten.client import restarts
    from corten.client.run import remove_ended_task

    from ..foreground import Foreground, start_detached

    container = await client.containers.get(id)
    await remove_ended_task(client, id)
    await restarts.say(client, container, stopped=False)
    spec = json.loads(container.spec.value) if container.spec else {}
    tty = bool(spec.get("process", {}).get("terminal"))
    if attach:
        return await Foreground(tty and on_terminal(), on_terminal(), "ctrl-p,ctrl-q").run(client, container)
    await start_detached(client, container, tty=tty, interactive=False)
    click.echo(id)
    return 0
