"""Further processes in a running container."""

import asyncio
import json
import secrets
from dataclasses import field
from typing import Any

from corten.contracts.objects import AnyValue, Container
from corten.contracts.runtime import Exit, Stdio
from corten.errors import FailedPrecondition
from corten.oci import rootfs, spec, users
from corten.oci.options import User
from corten.values import dataclass

from .attachment import Streams
from .client import Client
from .naming import of_container
from .process import Process, opened


@dataclass(frozen=True, slots=True)
class ExecOptions:
    """A process to run in the container; what is empty is as for the container's own."""

    args: tuple[str, ...]
    exec_id: str = field(default_factory=lambda: f"exec-{secrets.token_hex(6)}")
    env: tuple[str, ...] = ()
    cwd: str = ""
    user: str = ""
    terminal: bool = False


async def start_exec(
    client: Client, id: str, options: ExecOptions, streams: Streams | None = None, keys: bytes = b""
) -> Process:
    """Add the process to the container's task and start it; on failure nothing of it is left.

    Raises NotFound for the container or its task, and for a user the container does not know.
    """
    document = await _document(client, await client.containers.get(id), options)
    pipes, attachment = opened(streams, tty=options.terminal, keys=keys)
    process = Process(client, id, options.exec_id, pipes, attachment)
    stdio = pipes.stdio if pipes else Stdio(terminal=options.terminal)
    try:
        added = AnyValue(spec.PROCESS_TYPE, json.dumps(document).encode())
        with of_container(id):
            await client.tasks.exec(id, options.exec_id, added, stdio)
            await process.start()
        if pipes:
            pipes.remove()  # both sides have them open, and nobody else is to come
    except BaseException:
        await asyncio.shield(process.discard())
        raise
    return process


async def exec_(client: Client, id: str, options: ExecOptions, streams: Streams | None = None) -> Exit:
    """Start, wait and remove."""
    process = await start_exec(client, id, options, streams)
    try:
        ended = await process.wait()
        assert ended is not None, "nobody can detach without keys"
        return ended
    finally:
        await asyncio.shield(process.delete())


async def _document(client: Client, container: Container, options: ExecOptions) -> dict[str, Any]:
    base = json.loads(container.spec.value) if container.spec else {}
    user = await _user(client, container.id, options.user) if options.user else None
    return spec.process(base, options.args, env=options.env, cwd=options.cwd, user=user, terminal=options.terminal)


async def _user(client: Client, id: str, user: str) -> User:
    """By the container's passwd as it is now, seen through the root of its init."""
    state = await client.tasks.get(id)
    if not state.pid:
        raise FailedPrecondition(f"container {id!r}: it does not run, so there is nothing to exec in (start it first)")
    try:
        return await asyncio.to_thread(_resolved, state.pid, user)
    except PermissionError:
        return users.resolve(user)


def _resolved(pid: int, user: str) -> User:
    from pathlib import Path

    return rootfs.resolve_user(Path(f"/proc/{pid}/root"), user)
