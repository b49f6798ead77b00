"""A process in the foreground: this terminal is its terminal, the signals that come here go to it."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Collection
from contextlib import AsyncExitStack, suppress
from typing import TYPE_CHECKING, Self

from corten.client import terminal
from corten.client.attachment import Streams
from corten.client.detach import parse
from corten.client.logs import LOG_LABEL
from corten.client.process import Process
from corten.client.run import KILL, start, start_joined, start_logged
from corten.client.usage import Usage, out_of_memory
from corten.errors import CortenError

from . import exits
from .reporting import say, say_out_of_memory

if TYPE_CHECKING:
    from corten.client import Client
    from corten.contracts.objects import Container
    from corten.contracts.runtime import Exit

STDIN, STDOUT = 0, 1
HANGUP = 1
PATIENCE = 3
"""Requests to end after which it is killed, or left if it was there before."""
FORWARDED = ("SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2")


class Foreground:
    """One process, from its start to its end, to the detach keys, or until the terminal hangs up."""

    def __init__(self, tty: bool, interactive: bool, keys: str, *, joined: bool = False, lasting: bool = True) -> None:
        """`joined`: it was there before, and is not this command's to kill.

        `lasting`: it outlives its terminal; another gets SIGHUP when that hangs up, and is out of reach once left.
        """
        self._joined = joined
        self._tty = tty
        self._outlived, self._shown = tty and lasting, os.isatty(STDOUT)
        self._streams = Streams(stdin=STDIN if interactive or tty else None, outlived=self._outlived)
        self._keys = parse(keys) if tty else b""
        self.detached = self._unread = False
        self.started = False

    async def run(self, client: Client, container: Container) -> int:
        """Start the container's task and wait; its exit code, which stays to be seen until the container is removed."""
        return await self.follow(client, lambda: self._start(client, container), delete=False)

    async def _start(self, client: Client, container: Container) -> Process:
        """On a terminal in a way that lets the person leave it and come back, where the daemon can."""
        if self._tty and await client.attachments.offered():
            return await start_joined(client, container, container.labels.get(LOG_LABEL, ""), self._streams, self._keys)
        return await start(client, container, self._streams, tty=self._tty, keys=self._keys)

    async def follow(self, client: Client, begin: Callable[[], Awaitable[Process]], *, delete: bool = True) -> int:
        """Wait for what `begin` starts; its exit code. Deleted afterwards, unless the person detached."""
        async with AsyncExitStack() as stack:
            if self._tty:
                stack.enter_context(terminal.raw(STDIN))
            forwarding = stack.enter_context(_Forwarding(self._outlived, self._joined))
            process = await begin()
            self.started = True
            forwarding.to(process)
            if self._tty:
                await stack.enter_async_context(process.sized(STDIN))
            ended = await self._ended(process)
            short = await _short_of_memory(client, process, ended) if ended else ()
            if ended is None:
                self.detached = True
                await process.leave_behind()
            else:
                await (process.delete() if delete else process.release())
        for used in short:
            say_out_of_memory(used)
        if ended is None:
            with suppress(OSError):  # nobody is there if the terminal hung up
                say(f"detached; {_left(process)}")
            return 0
        return exits.UNREAD if self._unread else ended.status

    async def _ended(self, process: Process) -> Exit | None:
        watch = asyncio.ensure_future(self._end_when_unread(process))
        try:
            return await process.wait()
        finally:
            watch.cancel()

    async def _end_when_unread(self, process: Process) -> None:
        """The end of a pipeline ends the process as SIGPIPE would, which the first one of a container ignores.

        So does the end of a terminal, which SIGHUP tells of, unless the process outlives it.
        """
        await process.unread()
        if self._outlived and self._shown:
            process.leave()
        else:
            self._unread = True
            with suppress(CortenError):  # it may just have ended
                await process.kill(KILL)

    @property
    def streams(self) -> Streams:
        return self._streams

    @property
    def keys(self) -> bytes:
        return self._keys


async def start_detached(client: Client, container: Container, *, tty: bool, interactive: bool) -> None:
    """Start it with nobody attached: its output goes to its log, and input can come from whoever attaches later.

    Where the daemon knows no logs that can be joined, a terminal or input are FIFOs that wait for somebody to attach.
    """
    path = container.labels.get(LOG_LABEL, "")
    joinable = (tty or interactive) and await client.attachments.offered()
    if path and (joinable or not (tty or interactive)):
        await start_logged(client, container, path, tty=tty, stdin=interactive or tty)
    elif tty or interactive:
        process = await start(client, container, Streams(stdin=STDIN, stdout=None, stderr=None), tty=tty, copy=False)
        await process.release()
    else:
        await start(client, container)


async def _short_of_memory(client: Client, process: Process, ended: Exit) -> Collection[Usage]:
    """What there is to tell of a failure; what an exec has to do with it is known only if it was killed itself."""
    if not ended.status or (process.exec_id and ended.status != exits.KILLED):
        return ()
    return (await out_of_memory(client, [process.id])).values()


def _left(process: Process) -> str:
    if process.exec_id:
        return f"the command runs on in {process.id} (`corten top {process.id}` shows it; nothing comes back to it)"
    return f"{process.id} runs on (`corten attach {process.id}` comes back)"


class _Forwarding:
    """Signals to this process go to that one, from before it is started.

    One that comes early is sent then, as the process may be running already when the daemon says so; a second one means
    that the person does not want to wait for it, and cancels the start. A container's first process ignores what it has
    no handler for: the third request to end kills it; one that was only `joined` is left to run.
    """

    def __init__(self, outlived: bool, joined: bool) -> None:
        """`outlived`: SIGHUP means that the terminal is gone, and the process is left as it is."""
        self._outlived, self._joined = outlived, joined
        self._starting = asyncio.current_task()
        self._process: Process | None = None
        self._early: list[int] = []
        self._asked = 0
        self._sent: set[asyncio.Task[None]] = set()
        self._numbers = [int(signal.Signals[name]) for name in FORWARDED] if sys.platform != "win32" else []

    def __enter__(self) -> Self:
        for number in self._numbers:
            asyncio.get_running_loop().add_signal_handler(number, self._forward, number)
        return self

    def __exit__(self, *exc: object) -> None:
        for number in self._numbers:
            asyncio.get_running_loop().remove_signal_handler(number)

    def to(self, process: Process) -> None:
        """The process is there."""
        self._process = process
        for number in self._early:
            self._forward(number)

    def _forward(self, number: int) -> None:
        if self._process is None:
            if self._early and self._starting is not None:
                self._starting.cancel()
            return self._early.append(number)
        if number == HANGUP and self._outlived:
            return self._process.leave()
        if number in (signal.SIGINT, signal.SIGTERM):
            self._asked += 1
            if self._asked == PATIENCE - 1:
                say(f"it does not end (a third signal {'leaves it running' if self._joined else 'kills it'})")
            if self._asked == PATIENCE and self._joined:
                return self._process.leave()
            number = number if self._asked < PATIENCE else KILL
        task = asyncio.ensure_future(self._send(self._process, number))
        self._sent.add(task)
        return task.add_done_callback(self._sent.discard)

    async def _send(self, process: Process, number: int) -> None:
        with suppress(CortenError):  # it may just have ended
            await process.kill(number)
