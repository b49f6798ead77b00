"""`corten doctor`."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import click

from corten.errors import CortenError

from ..output import aligned, format_option, printable, show_json
from ..session import Session

if TYPE_CHECKING:
    from corten.client import Client
    from corten.doctor.model import Finding


_AT_NEXT_START = "still there: the daemon compares its stores when it starts (restart cortend; containers run on)"


@click.command()
@click.option("--repair", is_flag=True, help="Do what is advised, after looking again.")
@format_option
@click.pass_obj
def doctor(session: Session, repair: bool, format: str) -> None:
    """Find what a crash has left on this host: shims, containers, mounts, cgroups and files that belong to nobody.

    Only looks, unless told to repair. Must run as root where the daemon runs. Exits with 1 when something is left.
    """
    found, failed = session.run(lambda client: _examined(client, session.address, repair))
    if format == "json":
        show_json([_record(each, failed) for each in found])
    else:
        _tell(found, failed, repaired=repair)
    if failed or (found and not repair):
        raise SystemExit(1)


async def _examined(client: Client, address: str, repair: bool) -> tuple[list[Finding], dict[Finding, str]]:
    """What is found twice: what is under way just now is not taken for lost."""
    first = await _look(client, address)
    if not first:
        return [], {}
    await asyncio.sleep(1.0)
    again = {(each.kind, each.target, each.what) for each in await _look(client, address)}
    found = [each for each in first if (each.kind, each.target, each.what) in again]
    return found, await _repair(client, found) if repair else {}


async def _look(client: Client, address: str) -> list[Finding]:
    from corten.doctor import examine, knowledge, sight

    known = await knowledge.ask(client, address)
    host = await asyncio.to_thread(sight.look, known)
    return examine.findings(await knowledge.ask(client, address), host)


async def _repair(client: Client, found: list[Finding]) -> dict[Finding, str]:
    from corten.doctor import knowledge, repair
    from corten.doctor.model import Action

    failed = {}
    for each in found:
        try:
            if each.action is Action.COLLECT:
                await knowledge.collect(client)
            else:
                await asyncio.to_thread(repair.apply, each)
        except CortenError as error:
            failed[each] = error.message
    if any(each.action is Action.COLLECT for each in found):
        left = {each.kind for each in await _look(client, client.address) if each.action is Action.COLLECT}
        failed.update({each: _AT_NEXT_START for each in found if each.action is Action.COLLECT and each.kind in left})
    return failed


def _tell(found: list[Finding], failed: dict[Finding, str], *, repaired: bool) -> None:
    if not found:
        click.echo("Nothing is left of a crash on this host.")
    for each in found:
        click.echo(f"{each.kind}: {printable(each.what)}")
        rows = [["  why:", each.why], ["  remedy:", each.remedy]]
        if repaired:
            rows.append(["  repair:", failed.get(each, "done")])
        for line in aligned(rows):
            click.echo(line)
    if found and not repaired:
        click.echo(f"{len(found)} found; `corten doctor --repair` does what is advised.")


def _record(each: Finding, failed: dict[Finding, str]) -> dict[str, str]:
    record = {"kind": each.kind, "what": each.what, "why": each.why, "remedy": each.remedy}
    return {**record, "failed": failed[each]} if each in failed else record
