"""`corten pause` and `corten resume`."""

from __future__ import annotations

import click

from ..session import Session
from .several import for_each


@click.command()
@click.argument("containers", nargs=-1, required=True)
@click.pass_obj
def pause(session: Session, containers: tuple[str, ...]) -> int:
    """Freeze all processes of CONTAINERS; they keep their memory, and get no processor until `corten resume`."""
    return for_each(session, containers, lambda client, id: client.tasks.pause(id))


@click.command()
@click.argument("containers", nargs=-1, required=True)
@click.pass_obj
def resume(session: Session, containers: tuple[str, ...]) -> int:
    """Let the processes of CONTAINERS, which are paused, run on."""
    return for_each(session, containers, lambda client, id: client.tasks.resume(id))
