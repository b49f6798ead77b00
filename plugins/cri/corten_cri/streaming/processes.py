"""Exec and attach with real containers: FIFOs between the runtime and the client.

An exec lives as long as its process. When its client goes, it loses its streams like a process whose terminal or pipe
went: standard input ends, output is dropped, and one with a terminal gets SIGHUP.
"""

import asyncio
import logging
import secrets
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from corten.contracts.runtime import Stdio, Task
from corten.errors import CortenError

from ..contracts import Execs, ExecStdio
from ..state.containers import Container
from .copying import pump
from .model import CommandStreams

# ruff: noqa: E402  (what is imported below exists on Linux only)
assert sys.platform != "win32"

from .fifos import Fifos, FifoSink

log = logging.getLogger(__name__)

SIGHUP = 1
DRAIN = 15.0
"""Seconds after the end of a process in which its output must end: the shim closes what a child holds after 10."""


class ContainerProcesses:
    """One for the plugin. `folder` is where FIFOs are made."""

    def __init__(self, execs: Execs, folder: Path) -> None:
        self._execs, self._folder = execs, folder
        self._running: set[asyncio.Task[int]] = set()

    def __repr__(self) -> str:
        return f"ContainerProcesses({len(self._running)} execs)"

    async def exec(self, container: Container, command: Sequence[str], streams: CommandStreams) -> int:
        """See `Target.exec`."""
        process = _Exec(self._execs, container, command, streams, self._folder)
        life = asyncio.create_task(process.run(), name=f"cri exec in {container.id}")
        self._running.add(life)
        life.add_done_callback(self._ended)
        try:
            return await asyncio.shield(life)
        except asyncio.CancelledError:
            if not life.done():
                await process.hang_up()
            raise

    async def attach(self, task: Task, container: Container, streams: CommandStreams) -> None:
        """See `Target.attach`. Whether there is a terminal is the container's matter, whatever the client says."""
        streams = replace(streams, terminal=container.config.tty)
        fifos = _fifos(self._folder, streams)
        try:
            stdio = Stdio(fifos.path("stdin"), fifos.path("stdout"), fifos.path("stderr"), streams.terminal)
            await task.attach(stdio)
            await _joined(task, container, streams, fifos)
        finally:
            fifos.close()

    async def close(self) -> None:
        """At the daemon's end: execs go on without their streams."""
        for life in list(self._running):
            life.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)

    def _ended(self, life: "asyncio.Task[int]") -> None:
        self._running.discard(life)
        if not life.cancelled() and (error := life.exception()):
            log.debug("%s: %s", life.get_name(), error)


class _Exec:
    """One process, from before it is made until nothing of it is left."""

    def __init__(
        self, execs: Execs, container: Container, command: Sequence[str], streams: CommandStreams, folder: Path
    ) -> None:
        self._execs, self._container, self._command, self._streams = execs, container, command, streams
        self._fifos = _fifos(folder, streams)
        self._id = secrets.token_hex(16)
        self._task: Task | None = None
        self._is_gone = False

    async def run(self) -> int:
        """Its exit status. Raises what `Execs.begin` and the runtime raise."""
        fifos = self._fifos
        stdio = ExecStdio(fifos.path("stdin"), fifos.path("stdout"), fifos.path("stderr"), self._streams.terminal)
        try:
            task = await self._execs.begin(self._container, self._id, self._command, stdio)
            try:
                return await self._live(task)
            finally:
                with suppress(CortenError):
                    await task.delete(self._id)
        finally:
            fifos.close()

    async def hang_up(self) -> None:
        """The client has gone."""
        self._is_gone = True
        if self._task is not None and self._streams.terminal:
            with suppress(CortenError):
                await self._task.kill(SIGHUP, self._id)

    async def _live(self, task: Task) -> int:
        await task.start(self._id)
        self._task = task
        if self._is_gone:
            await self.hang_up()
        outputs = _outputs(self._streams, self._fifos)
        inputs = [
            asyncio.create_task(_resize(task, self._id, self._streams)),
            asyncio.create_task(self._type(task)),
        ]
        try:
            exit = await task.wait(self._id)
            if outputs:
                await asyncio.wait(outputs, timeout=DRAIN)
        finally:
            await _stop(*inputs, *outputs)
        return exit.status

    async def _type(self, task: Task) -> None:
        """A terminal has no end of input: one that ends is a client that says no more."""
        if self._streams.stdin is None or self._fifos.stdin is None:
            return
        await _pass_on(self._streams, self._fifos.stdin)
        if not self._streams.terminal:
            self._fifos.stdin.end()
            with suppress(CortenError):
                await task.close_stdin(self._id)


async def _joined(task: Task, container: Container, streams: CommandStreams, fifos: Fifos) -> None:
    """Until the container's output ends; or until the client says no more, where that does not end the container's."""
    outputs = _outputs(streams, fifos)
    sizes = asyncio.create_task(_resize(task, "", streams))
    typing = asyncio.create_task(_typed(streams, fifos))
    ends_with_input = streams.stdin is not None and (streams.terminal or not container.config.stdin_once)
    try:
        waiting = {*outputs, *([typing] if ends_with_input or not outputs else [])}
        while waiting:
            done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            if typing in done:
                return
    finally:
        await _stop(sizes, typing, *outputs)


async def _typed(streams: CommandStreams, fifos: Fifos) -> None:
    """Its end is the shim's matter: it closes the container's own input then, or not, as the container was made."""
    if fifos.stdin is not None:
        await _pass_on(streams, fifos.stdin)
        fifos.stdin.end()


async def _pass_on(streams: CommandStreams, fifo: FifoSink) -> None:
    if streams.stdin is not None:
        with suppress(OSError):
            while data := await streams.stdin.read():
                await fifo.write(data)


def _outputs(streams: CommandStreams, fifos: Fifos) -> list["asyncio.Task[None]"]:
    pairs = ((fifos.stdout, streams.stdout), (fifos.stderr, streams.stderr))
    return [asyncio.create_task(pump(source, sink)) for source, sink in pairs if source is not None]


async def _resize(task: Task, exec_id: str, streams: CommandStreams) -> None:
    if streams.sizes is not None:
        async for size in streams.sizes:
            with suppress(CortenError):
                await task.resize_pty(size.width, size.height, exec_id)


async def _stop(*tasks: "asyncio.Task[None]") -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _fifos(folder: Path, streams: CommandStreams) -> Fifos:
    """Output that the client does not want is read and dropped, as a process expects to be able to write."""
    return Fifos.make(
        folder, secrets.token_hex(8), stdin=streams.stdin is not None, stdout=True, stderr=not streams.terminal
    )
