"""`corten kill`."""

from __future__ import annotations

import click

from ..session import Session
from ..words import signal_number
from .several import for_each


@click.command()
@click.option("-s", "--signal", default="KILL", show_default=True, help="A name or a number.")
@click.option("--all", "everything", is_flag=True, help="To every process of the container, not just the first.")
@click.argument("containers", nargs=-1, required=True)
@click.pass_obj
def kill(session: Session, containers: tuple[str, ...], signal: str, everything: bool) -> int:
    """Send a signal to CONTAINERS."""
    number = signal_number(signal)
    return for_each(session, containers, lambda client, id: client.tasks.kill(id, number, all=everything))
