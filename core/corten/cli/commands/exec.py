"""`corten exec`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from ..session import Session
from .common import ProcessCommand, detach_keys_option, on_terminal

if TYPE_CHECKING:
    from corten.client import Client


@click.command(
    cls=ProcessCommand,
    context_settings={"allow_interspersed_args": False},
    epilog="Exits as the process does; 125 if it could not be started, 126 or 127 for a command that cannot be "
    "executed or does not exist.",
)
@click.option("-d", "--detach", is_flag=True, help="Start it and do not wait.")
@click.option("-t", "--tty", is_flag=True, help="Give it a terminal.")
@click.option("-i", "--interactive", is_flag=True, help="Connect standard input.")
@click.option("-e", "--env", multiple=True, help="KEY=value sets a variable; KEY takes it from here.")
@click.option("-w", "--workdir", default="", help="The working directory in the container.")
@click.option("-u", "--user", default="", help="NAME, UID, NAME:GROUP or UID:GID; the container's own by default.")
@detach_keys_option("With -t: leave it running, its output lost; empty for none.")
@click.argument("container")
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
@click.pass_obj
def exec_(session: Session, /, **given: Any) -> int:
    """Run COMMAND in the running container CONTAINER."""
    if given["tty"] and (given["detach"] or not on_terminal()):
        raise click.UsageError("--tty needs a terminal on standard input, and somebody to wait for it")
    return session.run(lambda client: _exec(client, given))


async def _exec(client: Client, given: dict[str, Any]) -> int:
    from corten.client.execute import ExecOptions, start_exec

    from .. import host
    from ..foreground import Foreground

    options = ExecOptions(
        args=given["command"],
        env=host.environment(given["env"], ()),
        cwd=given["workdir"],
        user=given["user"],
        terminal=given["tty"],
    )
    if given["detach"]:
        await start_exec(client, given["container"], options)
        click.echo(options.exec_id)
        return 0
    foreground = Foreground(given["tty"], given["interactive"], given["detach_keys"], lasting=False)
    begin = lambda: start_exec(client, given["container"], options, foreground.streams, foreground.keys)  # noqa: E731
    return await foreground.follow(client, begin)
