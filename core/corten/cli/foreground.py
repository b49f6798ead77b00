"""A process in the foreground: this terminal is its terminal, the signals that come here go to it."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import TYPE_CHECKING

from corten.client import terminal
from corten.client.attachment import Streams
from corten.client.detach import parse
from corten.client.process import Process
from corten.client.run import start
from corten.errors import CortenError

from .reporting import say

if TYPE_CHECKING:
    from corten.client import Client
    from corten.contracts.objects import Container

STDIN = 0
FORWARDED = ("SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2")


class Foreground:
    """One process, from its start to its end or to the detach keys."""

    def __init__(self, tty: bool, interactive: bool, keys: str) -> None:
        self._tty = tty
        self._streams = Streams(stdin=STDIN if interactive or tty else None)
        self._keys = parse(keys) if tty else b""
        self.detached = False

    async def run(self, client: Client, container: Container) -> int:
        """Start the container's task, wait, delete the task; its exit code."""
        return await self.follow(lambda: start(client, container, self._streams, tty=self._tty, keys=self._keys))

    async def follow(self, begin: Callable[[], Awaitable[Process]], *, delete: bool = True) -> int:
        """Wait for what `begin` starts; its exit code. Deleted afterwards, unless the person detached."""
        async with AsyncExitStack() as stack:
            if self._tty:
                stack.enter_context(terminal.raw(STDIN))
            process = await begin()
            if self._tty:
                await stack.enter_async_context(process.sized(STDIN))
            await stack.enter_async_context(_forwarding(process))
            ended = await process.wait()
            if ended is None:
                self.detached = True
                await process.release()
            else:
                await (process.delete() if delete else process.release())
        if ended is None:
            say(f"detached; {process.id} runs on (`corten attach {process.id}` comes back)")
            return 0
        return ended.status

    @property
    def streams(self) -> Streams:
        return self._streams

    @property
    def keys(self) -> bytes:
        return self._keys


async def start_detached(client: Client, container: Container, *, tty: bool, interactive: bool) -> Process:
    """Start it with nobody attached: with FIFOs to attach to later if it wants a terminal or input, else without."""
    if not (tty or interactive):
        return await start(client, container)
    process = await start(client, container, Streams(stdin=STDIN, stdout=None, stderr=None), tty=tty, copy=False)
    await process.release()
    return process


@asynccontextmanager
async def _forwarding(process: Process) -> AsyncIterator[None]:
    """Signals to this process go to that one for as long as the block runs."""
    loop, sent = asyncio.get_running_loop(), set[asyncio.Task[None]]()

    async def send(number: int) -> None:
        with suppress(CortenError):  # it may just have ended
            await process.kill(number)

    def forward(number: int) -> None:
        task = loop.create_task(send(number))
        sent.add(task)
        task.add_done_callback(sent.discard)

    numbers = [int(signal.Signals[name]) for name in FORWARDED] if sys.platform != "win32" else []
    for number in numbers:
        loop.add_signal_handler(number, forward, number)
    try:
        yield
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)
