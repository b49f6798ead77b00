"""`corten stop`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ..session import Session
from ..words import signal_number
from .several import for_each

if TYPE_CHECKING:
    from corten.client import Client


@click.command()
@click.option(
    "-t", "--time", "timeout", type=click.FloatRange(min=0), default=10.0, show_default=True,
    help="Seconds before the kill.",
)  # fmt: skip
@click.option("-s", "--signal", help="The image's stop signal by default, or TERM.")
@click.argument("containers", nargs=-1, required=True)
@click.pass_obj
def stop(session: Session, containers: tuple[str, ...], timeout: float, signal: str | None) -> int:
    """Ask CONTAINERS to end, and kill those that have not ended in time. They stay until `corten rm`."""
    number = signal_number(signal) if signal else None

    async def step(client: Client, id: str) -> None:
        from corten.client import restarts
        from corten.client.run import stop as stopped
        from corten.oci.image_defaults import STOP_SIGNAL_LABEL

        container = await client.containers.get(id)
        await restarts.say(client, container, stopped=True)
        own = container.labels.get(STOP_SIGNAL_LABEL, "TERM")
        await stopped(client, id, number or signal_number(own), timeout)

    return for_each(session, containers, step)
