"""`corten version`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from corten import __version__
from corten.errors import CortenError

from ..output import format_option, show_fields
from ..reporting import report
from ..session import Session

if TYPE_CHECKING:
    from corten.client import Client
    from corten.client.introspection import DaemonVersion


@click.command()
@format_option
@click.pass_obj
def version(session: Session, format: str) -> int:
    """Show the versions of this command and of the daemon."""

    async def work(client: Client) -> DaemonVersion:
        return await client.introspection.version()

    code, found = 0, None
    try:
        found = session.run(work)
    except CortenError as error:
        code = report(error)
    fields = {"Command": __version__}
    record = {"command": {"version": __version__}, "daemon": None}
    if found:
        fields |= {"Daemon": found.version, "Daemon's revision": found.revision}
        record = {**record, "daemon": {"version": found.version, "revision": found.revision}}
    show_fields(fields, record, format)
    return code
