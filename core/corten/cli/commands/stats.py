"""`corten stats`."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from corten.errors import FailedPrecondition, NotFound

from ..output import format_option, printable, show
from ..session import Session
from ..words import shown_size

if TYPE_CHECKING:
    from corten.client import Client
    from corten.client.usage import Usage

COLUMNS = ("CONTAINER", "CPU", "MEMORY", "LIMIT", "PROCESSES", "READ", "WRITTEN")
SAMPLE = 1.0
"""Seconds between two measurements."""


@click.command()
@click.option("--no-stream", is_flag=True, help="Measure once (for a second), print, and end.")
@format_option
@click.argument("containers", nargs=-1)
@click.pass_obj
def stats(session: Session, containers: tuple[str, ...], no_stream: bool, format: str) -> None:
    """Show what CONTAINERS use, all that run by default; on a terminal anew each second, until Ctrl-C.

    CPU is in percent of one processor; memory is without the page cache that nobody used of late.
    """
    if no_stream or format == "json" or not sys.stdout.isatty():
        before, after = session.run(lambda client: _twice(client, containers))
        return show(COLUMNS, _rows(before, after), _records(before, after), format)
    return session.run(lambda client: _live(client, containers))


async def _twice(client: Client, ids: Sequence[str]) -> tuple[Mapping[str, Usage], Mapping[str, Usage]]:
    _require_running(ids, before := await _measured(client, ids))
    await asyncio.sleep(SAMPLE)
    return before, await _measured(client, ids)


async def _live(client: Client, ids: Sequence[str]) -> None:
    from rich.live import Live

    _require_running(ids, before := await _measured(client, ids))
    with Live(_table(()), auto_refresh=False, transient=False) as live:
        while True:
            await asyncio.sleep(SAMPLE)
            after = await _measured(client, ids)
            live.update(_table(_rows(before, after)), refresh=True)
            before = after


async def _measured(client: Client, ids: Sequence[str]) -> dict[str, Usage]:
    """Those named, or all, as far as they run. Raises NotFound for one named that is not there."""
    from corten.client import usage

    states = {state.container_id: state for state in await client.tasks.list()}
    if missing := [id for id in ids if id not in states]:
        raise NotFound(f"container {missing[0]!r}: it does not exist, or has no process")
    found = {metric.id: usage.of(metric) for metric in await client.tasks.metrics([f"id=={id}" for id in ids])}
    running = {id for id, state in states.items() if state.status != "stopped"}
    return {id: used for id, used in sorted(found.items()) if used is not None and id in running}


def _require_running(ids: Sequence[str], before: Mapping[str, Usage]) -> None:
    if ended := [id for id in ids if id not in before]:
        raise FailedPrecondition(
            f"container {ended[0]!r}: it does not run, or has no statistics (`corten ps -a` says how it ended)"
        )


def _rows(before: Mapping[str, Usage], after: Mapping[str, Usage]) -> list[list[object]]:
    return [_row(before.get(id, now), now) for id, now in after.items()]


def _row(before: Usage, now: Usage) -> list[object]:
    return [
        now.id,
        f"{now.cpu_share(before):.1f} %",
        shown_size(now.memory),
        shown_size(now.memory_limit) if now.memory_limit else "none",
        f"{now.processes} of {now.processes_limit}" if now.processes_limit else now.processes,
        shown_size(now.read),
        shown_size(now.written),
    ]


def _records(before: Mapping[str, Usage], after: Mapping[str, Usage]) -> list[dict[str, Any]]:
    return [{**asdict(now), "cpu_percent": round(now.cpu_share(before.get(id, now)), 2)} for id, now in after.items()]


def _table(rows: Sequence[Sequence[object]]) -> Any:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for name in COLUMNS:
        table.add_column(name, justify="left" if name == "CONTAINER" else "right")
    for row in rows:
        table.add_row(*(Text(printable(str(cell))) for cell in row))
    return table
