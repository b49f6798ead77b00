"""`corten ps`."""

from __future__ import annotations

import asyncio
import json
import shlex
from typing import TYPE_CHECKING

import click

from ..output import format_option, show
from ..session import Session
from ..words import age

if TYPE_CHECKING:
    from corten.client import Client
    from corten.contracts.objects import Container
    from corten.contracts.runtime import ProcessState

    Found = tuple[Container, ProcessState | None, bool]

COLUMNS = ("CONTAINER", "IMAGE", "COMMAND", "CREATED", "STATUS", "PID")
_COMMAND_WIDTH = 30


@click.command()
@click.option("-a", "--all", "everything", is_flag=True, help="Also those that do not run.")
@click.option("-q", "--quiet", is_flag=True, help="Only the names.")
@format_option
@click.pass_obj
def ps(session: Session, everything: bool, quiet: bool, format: str) -> None:
    """List containers: those that run, are paused or about to be started again, or with --all every one."""
    shown = session.run(lambda client: _read(client, everything))
    if quiet:
        for container, _, _ in shown:
            click.echo(container.id)
        return
    show(COLUMNS, [_row(*found) for found in shown], [_record(*found) for found in shown], format)


async def _read(client: Client, everything: bool) -> list[Found]:
    """Each with its task, and whether memory ran out in it; of those that run only `inspect` tells that."""
    from corten.client.usage import out_of_memory

    containers, tasks = await asyncio.gather(client.containers.list(), client.tasks.list())
    states = {state.container_id: state for state in tasks}
    failed = [id for id, state in states.items() if not _lives(state) and state.exit_status]
    killed = await out_of_memory(client, failed if everything else ())
    found = [(each, states.get(each.id), each.id in killed) for each in containers]
    shown = [each for each in found if everything or _lives(each[1]) or _restarts(*each[:2])]
    return sorted(shown, key=lambda each: -each[0].created_at)


def _lives(state: ProcessState | None) -> bool:
    return state is not None and state.status != "stopped"


def _restarts(container: Container, state: ProcessState | None) -> bool:
    """Whether it has ended, and is about to be started again."""
    from corten.client.restarts import again

    return state is not None and not _lives(state) and again(container.labels, state.exit_status)


def _row(container: Container, state: ProcessState | None, oom_killed: bool) -> list[object]:
    command = shlex.join(_args(container))
    short = command if len(command) <= _COMMAND_WIDTH else f"{command[: _COMMAND_WIDTH - 1]}…"
    pid = state.pid if state and _lives(state) else "-"
    return [
        container.id,
        container.image or "-",
        short,
        age(container.created_at),
        _status(container, state, oom_killed),
        pid,
    ]


def _status(container: Container, state: ProcessState | None, oom_killed: bool) -> str:
    if state is None:
        return "not started"
    if state.status != "stopped":
        return str(state.status)
    word = "restarting" if _restarts(container, state) else "exited"
    return f"{word} ({state.exit_status}{', out of memory' if oom_killed else ''})"


def _args(container: Container) -> list[str]:
    if container.spec is None:
        return []
    try:
        return [str(arg) for arg in json.loads(container.spec.value)["process"]["args"]]
    except (ValueError, LookupError, TypeError):
        return []


def _record(container: Container, state: ProcessState | None, oom_killed: bool) -> dict[str, object]:
    return {
        "id": container.id,
        "image": container.image,
        "command": _args(container),
        "labels": dict(container.labels),
        "runtime": container.runtime.name,
        "snapshotter": container.snapshotter,
        "snapshot_key": container.snapshot_key,
        "created_at": container.created_at,
        "status": str(state.status) if state else "none",
        "pid": state.pid if state and _lives(state) else 0,
        "exit_status": state.exit_status if state and state.status == "stopped" else None,
        "oom_killed": oom_killed,
    }
