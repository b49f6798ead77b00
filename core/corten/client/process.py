"""A process of a container as a client holds it: started, attached, waited for, ended, removed."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from corten.contracts.runtime import Exit, ProcessState
from corten.errors import CortenError, NotFound, Unavailable

from . import fifos, logs, terminal
from .attachment import Attachment, Streams
from .client import Client
from .fifos import Fifos

RESTART_SECONDS = 30.0
"""How long a daemon may be away while one of its processes is waited for."""
RESTART_PAUSE = 0.2


class Process:
    """Init of a task (empty exec id) or an exec. Made by `run`, `exec` and `attach`."""

    def __init__(
        self,
        client: Client,
        id: str,
        exec_id: str = "",
        pipes: Fifos | None = None,
        attachment: Attachment | None = None,
        *,
        passing: bool = False,
    ) -> None:
        """`passing`: others may be connected too, and the end of this client's input is not the process's."""
        self._client = client
        self.id = id
        self.exec_id = exec_id
        self.pid = 0
        """On the host; 0 until it is started."""
        self._pipes = pipes
        self._attachment = attachment
        self._passing = passing

    def __repr__(self) -> str:
        return f"Process({self.id!r}{f', exec {self.exec_id!r}' if self.exec_id else ''}, pid={self.pid})"

    async def start(self, *, copy: bool = True) -> None:
        """Start what was created, and copy its streams from then on."""
        if copy and self._attachment is not None:
            self._attachment.copy_outputs()
        self.pid = await self._client.tasks.start(self.id, self.exec_id)
        if copy and self._attachment is not None:
            self._attachment.copy_input(self._input_ended)

    def join(self, attachment: Attachment) -> None:
        """Have these near ends of its FIFOs."""
        self._attachment = attachment

    def follow(self) -> None:
        """Copy the streams of a process that runs already."""
        if self._attachment is not None:
            self._attachment.copy_outputs()
            self._attachment.copy_input(self._input_ended)

    async def wait(self) -> Exit | None:
        """Until the process has ended and its output is delivered; None if the person detached first.

        A daemon that is restarted meanwhile is waited for: the process runs on without it. Raises Unavailable if it
        does not come back within `RESTART_SECONDS`.
        """
        ended = asyncio.ensure_future(self._ended())
        attachment = self._attachment
        if attachment is None:
            return await ended
        left = asyncio.ensure_future(attachment.detached.wait())
        try:
            await asyncio.wait((ended, left), return_when=asyncio.FIRST_COMPLETED)
            if not ended.done():
                return None
            await attachment.drained()
            return ended.result()
        finally:
            left.cancel()
            if not ended.done():
                ended.cancel()

    async def unread(self) -> None:
        """Until it wrote something that nobody reads any more: for ever, as a rule."""
        await (self._attachment.unread if self._attachment is not None else asyncio.Event()).wait()

    async def _ended(self) -> Exit:
        asked = answered = time.monotonic()
        while True:
            try:
                return await self._client.tasks.wait(self.id, self.exec_id)
            except Unavailable:
                now = time.monotonic()
                if now - asked > RESTART_PAUSE * 5:  # the call held for a while, so the daemon was there
                    answered = now
                if now - answered > RESTART_SECONDS:
                    raise
            await asyncio.sleep(RESTART_PAUSE)
            asked = time.monotonic()

    async def kill(self, signal: int, *, all: bool = False) -> None:
        """Send a signal; NotFound if the process has ended."""
        await self._client.tasks.kill(self.id, signal, self.exec_id, all=all)

    async def resize(self, width: int, height: int) -> None:
        await self._client.tasks.resize_pty(self.id, width, height, self.exec_id)

    @asynccontextmanager
    async def sized(self, fd: int) -> AsyncIterator[None]:
        """Let the container's terminal have the size of `fd` for as long as the block runs."""
        with terminal.followed(fd, self.resize):
            yield

    def leave(self) -> None:
        """End `wait` as the detach keys do."""
        if self._attachment is not None:
            self._attachment.detached.set()

    async def release(self) -> None:
        """Stop copying; the process stays, and so do its FIFOs."""
        if self._attachment is not None:
            await self._attachment.close()
            self._attachment = None

    async def leave_behind(self) -> None:
        """Let go of a process that runs on; an exec's output is thrown away from now on, as nobody can come back."""
        if self._attachment is not None:
            await self._attachment.close(left=bool(self.exec_id))
            self._attachment = None

    async def delete(self) -> Exit | None:
        """Remove a process that has ended, with its FIFOs; None if it is gone already."""
        await self.release()
        ended: Exit | None = None
        with suppress(NotFound):
            ended = await self._client.tasks.delete(self.id, self.exec_id)
        if self._pipes is not None:
            self._pipes.remove()
        return ended

    async def discard(self) -> None:
        """Give up on a process that may not even have been created: kill it and remove what is there of it."""
        with suppress(CortenError):
            await self.kill(9, all=not self.exec_id)
            await asyncio.wait_for(self._client.tasks.wait(self.id, self.exec_id), 10)
        with suppress(CortenError):
            await self.delete()
        await self.release()
        if self._pipes is not None:
            self._pipes.remove()

    async def _input_ended(self) -> None:
        if self._passing:
            return
        await self._client.tasks.close_stdin(self.id, self.exec_id)


def opened(streams: Streams | None, *, tty: bool, keys: bytes = b"") -> tuple[Fifos | None, Attachment | None]:
    """FIFOs and their near ends for a new process; nothing for a process without streams."""
    if streams is None:
        return None, None
    pipes = fifos.make(stdin=streams.stdin is not None, terminal=tty)
    try:
        return pipes, Attachment(pipes.stdio, streams, keys)
    except CortenError:
        pipes.remove()
        raise


async def attach(client: Client, id: str, streams: Streams, keys: bytes = b"", *, holds_up: bool = False) -> Process:
    """Connect to the streams of a task: those of one that keeps a log, or FIFOs that this client made before.

    With `holds_up` a process that keeps a log waits for this client when it does not read, and does not let it go.

    Raises NotFound for the task, or if it has no such streams; FailedPrecondition for one that has ended.
    """
    state = await client.tasks.get(id)
    if logs.is_joinable(state.stdio):
        return await _joined(client, state, streams, keys, holds_up)
    if (pipes := fifos.of(state.stdio)) is None:
        raise NotFound(f"container {id!r}: it has no streams to attach to (start it with -d, -t or -i)")
    process = Process(client, id, "", pipes, Attachment(pipes.stdio, streams, keys))
    process.pid = state.pid
    return process


async def _joined(client: Client, state: ProcessState, streams: Streams, keys: bytes, holds_up: bool) -> Process:
    """One of any number of clients; once both sides have its FIFOs open they need no names, and none are left."""
    pipes = fifos.make(stdin=streams.stdin is not None and bool(state.stdio.stdin), terminal=state.stdio.terminal)
    process = Process(client, state.container_id, state.exec_id, passing=True)
    try:
        process.join(Attachment(pipes.stdio, streams, keys))
        await client.attachments.attach(state.container_id, pipes.stdio, state.exec_id, holds_up=holds_up)
    except BaseException:
        await process.release()
        raise
    finally:
        pipes.remove()
    process.pid = state.pid
    return process
