"""`corten top`."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import click

from corten.errors import FailedPrecondition

from ..output import format_option, show
from ..session import Session
from ..words import shown_size, span

if TYPE_CHECKING:
    from corten.client import Client
    from corten.linux.observation import Observed

COLUMNS = ("PID", "PARENT", "USER", "STATE", "CPU TIME", "MEMORY", "RUNS FOR", "COMMAND")


@click.command()
@format_option
@click.argument("container")
@click.pass_obj
def top(session: Session, container: str, format: str) -> None:
    """List the processes of CONTAINER, by their pid on the host; must run there."""
    found = session.run(lambda client: _read(client, container))
    show(COLUMNS, [_row(process) for process in found], [_record(process) for process in found], format)


async def _read(client: Client, id: str) -> list[Observed]:
    pids = [pid for pid, _ in await client.tasks.pids(id)]
    found = await asyncio.to_thread(_observed, pids)
    if not found:
        raise FailedPrecondition(f"container {id!r}: {await _why_none(client, id, pids)}")
    return found


async def _why_none(client: Client, id: str, pids: list[int]) -> str:
    state = await client.tasks.get(id)
    if state.status == "stopped":
        return f"it has ended ({state.exit_status}), and has no processes (`corten start {id}` runs it again)"
    if not pids:
        return "it has no processes that the daemon knows of"
    return "its processes are not on this host: run `corten top` where it runs"


def _observed(pids: list[int]) -> list[Observed]:
    from corten.linux.observation import observe

    return [process for pid in sorted(pids) if (process := observe(pid))]


def _row(process: Observed) -> list[object]:
    return [
        process.pid,
        process.parent,
        process.uid,
        process.state,
        f"{process.cpu_seconds:.2f} s",
        shown_size(process.memory),
        span(time.time() - process.started),
        process.command,
    ]


def _record(process: Observed) -> dict[str, object]:
    return {
        "pid": process.pid,
        "parent": process.parent,
        "uid": process.uid,
        "state": process.state,
        "cpu_seconds": process.cpu_seconds,
        "memory": process.memory,
        "started": process.started,
        "command": process.command,
    }
