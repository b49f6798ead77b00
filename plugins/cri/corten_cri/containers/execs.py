"""Processes beside a container's own: added by one door, for ExecSync and for streams."""

from __future__ import annotations

import json
from collections.abc import Sequence

from corten.contracts.objects import AnyValue
from corten.contracts.runtime import Stdio, Task
from corten.errors import FailedPrecondition, InvalidArgument, NotFound
from corten.oci import spec

from ..contracts import ExecStdio
from ..parts import Parts
from ..state.containers import Container
from .specs import spec_of


class ContainerExecs:
    """Fulfils `Execs`."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def task(self, container: Container) -> Task:
        """The task of a running container. Raises FailedPrecondition."""
        if not container.running:
            raise FailedPrecondition(f"container {container.id}: it does not run, so that nothing can be done in it")
        try:
            return await self._parts.task(container.id)
        except NotFound as error:
            raise FailedPrecondition(f"container {container.id}: it has just ended") from error

    async def begin(self, container: Container, exec_id: str, command: Sequence[str], stdio: ExecStdio) -> Task:
        """Add a process, not started yet; the task starts and deletes it. FailedPrecondition, InvalidArgument."""
        if not command:
            raise InvalidArgument(f"exec in container {container.id}: there is no command")
        task = await self.task(container)
        process = spec.process(spec_of(self._parts, container.id), list(command), terminal=stdio.terminal)
        text = json.dumps(process, separators=(",", ":")).encode()
        streams = Stdio(stdio.stdin, stdio.stdout, stdio.stderr, stdio.terminal)
        await task.exec(exec_id, AnyValue(spec.PROCESS_TYPE, text), streams)
        return task
