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

COLUMNS = ("CONTAINER", "IMAGE", "COMMAND", "CREATED", "STATUS", "PID")
_COMMAND_WIDTH = 30


@click.command()
@click.option("-a", "--all", "everything", is_flag=True, help="Also those that do not run.")
@click.option("-q", "--quiet", is_flag=True, help="Only the names.")
@format_option
@click.pass_obj
def ps(session: Session, everything: bool, quiet: bool, format: str) -> None:
    """List containers: those with a running or paused process, or with --all every one."""
    pairs = session.run(_read)
    shown = [(container, state) for container, state in pairs if everything or _lives(state)]
    if quiet:
        for container, _ in shown:
            click.echo(container.id)
        return
    show(COLUMNS, [_row(*pair) for pair in shown], [_record(*pair) for pair in shown], format)


async def _read(client: Client) -> list[tuple[Container, ProcessState | None]]:
    containers, tasks = await asyncio.gather(client.containers.list(), client.tasks.list())
    states = {state.container_id: state for state in tasks}
    found = [(container, states.get(container.id)) for container in containers]
    return sorted(found, key=lambda pair: -pair[0].created_at)


def _lives(state: ProcessState | None) -> bool:
    return state is not None and state.status != "stopped"


def _row(container: Container, state: ProcessState | None) -> list[object]:
    command = shlex.join(_args(container))
    short = command if len(command) <= _COMMAND_WIDTH else f"{command[: _COMMAND_WIDTH - 1]}…"
    pid = state.pid if state and _lives(state) else "-"
    return [container.id, container.image or "-", short, age(container.created_at), _status(state), pid]


def _status(state: ProcessState | None) -> str:
    if state is None:
        return "not started"
    return f"exited ({state.exit_status})" if state.status == "stopped" else str(state.status)


def _args(container: Container) -> list[str]:
    if container.spec is None:
        return []
    try:
        return [str(arg) for arg in json.loads(container.spec.value)["process"]["args"]]
    except (ValueError, LookupError, TypeError):
        return []


def _record(container: Container, state: ProcessState | None) -> dict[str, object]:
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
    }
