"""ExecSync: run a command in a container and return what it printed, in bounded memory and bounded time."""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from corten.api.cri.v1 import runtime_pb2 as pb
from corten.config.units import written
from corten.contracts.runtime import Exit, Task
from corten.errors import CortenError, DeadlineExceeded, NotFound, Unknown
from corten.wire.limits import MESSAGE_SIZE

from ..contracts import ExecStdio
from ..parts import Parts

# ruff: noqa: E402  (what is imported below exists on Linux only)
assert sys.platform != "win32"

from . import folders
from .execs import ContainerExecs
from .outputs import Output

KILL = 9
CLOSED_BY_SHIM = 15.0
"""Seconds after which the output of an ended process is given up without a limit: the shim has closed it before."""
HELD = 9.5
"""Seconds after which output that is still held is an error: a little less than after which the shim closes it."""
DRAIN_AFTER_KILL = 1.0
"""Seconds that the output of a killed process is waited for."""


class ExecSync:
    """Used on the event loop."""

    def __init__(self, parts: Parts, execs: ContainerExecs) -> None:
        self._parts = parts
        self._execs = execs

    async def run(self, request: pb.ExecSyncRequest) -> pb.ExecSyncResponse:
        """Raises NotFound, FailedPrecondition, DeadlineExceeded when the command did not end in its time."""
        parts = self._parts
        container = parts.containers.get(request.container_id)
        exec_id = secrets.token_hex(16)
        folder = folders.volatile(parts, container.id)
        outputs = self._outputs(folder, exec_id)
        paths = [str(folder / f"{exec_id}-{name}") for name in _STREAMS]
        try:
            task = await self._execs.begin(container, exec_id, list(request.cmd), ExecStdio("", paths[0], paths[1]))
            try:
                exit = await self._ended(task, exec_id, outputs, request.timeout)
            finally:
                with suppress(CortenError):
                    await task.delete(exec_id)
        finally:
            for output in outputs:
                output.close()
        stdout, stderr = fitted(outputs[0].data, outputs[1].data)
        return pb.ExecSyncResponse(stdout=stdout, stderr=stderr, exit_code=exit.status)

    def _outputs(self, folder: Path, exec_id: str) -> list[Output]:
        made: list[Output] = []
        try:
            for name in _STREAMS:
                made.append(Output(folder / f"{exec_id}-{name}", self._parts.config.max_exec_sync_output))  # noqa: PERF401
        except BaseException:
            for output in made:
                output.close()
            raise
        return made

    async def _ended(self, task: Task, exec_id: str, outputs: Sequence[Output], timeout: int) -> Exit:
        """How it ended, with its output read to the end."""
        pid = await task.start(exec_id)
        for output in outputs:
            output.begin()
        try:
            exit = await asyncio.wait_for(task.wait(exec_id), timeout if timeout > 0 else None)
        except TimeoutError:
            await self._kill(task, exec_id, pid)
            await _drained(outputs, DRAIN_AFTER_KILL)
            raise DeadlineExceeded(f"exec in container {task.id}: timeout {timeout}s exceeded; it was killed") from None
        limit = min(self._parts.config.drain_exec_sync_io_timeout, HELD)
        if not await _drained(outputs, limit or CLOSED_BY_SHIM) and limit:
            raise Unknown(  # not DeadlineExceeded: the kubelet takes that for a command that took too long
                f"failed to drain exec process {exec_id!r} io in {written(limit)} because io is still held by other "
                f"processes: container {task.id}, exit code {exit.status} (let background processes close their output)"
            )
        return exit

    async def _kill(self, task: Task, exec_id: str, pid: int) -> None:
        """The process and all that it started."""
        descendants = await self._parts.run(_open_descendants, pid)
        with suppress(NotFound):
            await task.kill(KILL, exec_id)
        await self._parts.run(_kill_and_close, descendants)
        with suppress(TimeoutError, NotFound):
            await asyncio.wait_for(task.wait(exec_id), CLOSED_BY_SHIM)


_STREAMS = ("stdout", "stderr")
_REPLY = MESSAGE_SIZE - 1024
"""Bytes of both streams that fit in the reply."""


def fitted(stdout: bytes, stderr: bytes, size: int = _REPLY) -> tuple[bytes, bytes]:
    """Both cut so that they fit together; each may have what the other does not need, and half of all in any case."""
    half = size // 2
    return stdout[: max(half, size - len(stderr))], stderr[: max(half, size - len(stdout))]


async def _drained(outputs: Sequence[Output], seconds: float) -> bool:
    """Whether all of them came to their end in that time."""
    try:
        async with asyncio.timeout(seconds):
            for output in outputs:
                await output.end()
    except TimeoutError:
        return False
    return True


def _open_descendants(pid: int) -> list[int]:
    """Descriptors of the processes below `pid`, so that no other process is meant when their numbers are used anew."""
    found: list[int] = []
    for child in _children(pid):
        with suppress(OSError):
            found.append(os.pidfd_open(child))
            found += _open_descendants(child)
    return found


def _children(pid: int) -> list[int]:
    children: list[int] = []
    with suppress(OSError):
        for thread in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{thread}/children") as file:
                children += map(int, file.read().split())
    return children


def _kill_and_close(descriptors: Sequence[int]) -> None:
    for descriptor in descriptors:
        with suppress(OSError):
            signal.pidfd_send_signal(descriptor, signal.SIGKILL)
        os.close(descriptor)
