"""A process's FIFOs connected to descriptors or buffers of this process, by one thread for each stream."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

from corten.contracts.runtime import Stdio
from corten.errors import CortenError, Unimplemented, mapped
from corten.values import dataclass

from . import pump
from .detach import DetachKeys
from .pump import Sink

DRAIN_SECONDS = 10.0
"""How long after the end of a process its streams may stay open: a background child may hold them."""
_NONBLOCK: int = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0)


@dataclass(frozen=True, slots=True)
class Streams:
    """Where a process's streams go; None for nowhere."""

    stdin: int | None = None
    stdout: Sink | None = 1
    stderr: Sink | None = 2
    outlived: bool = False
    """`stdin` is a terminal in raw mode, which ends only by hanging up: the process is left as by the detach keys."""


class Attachment:
    """Open from construction, so that a daemon never waits for a reader; `copy_…` begins, `close` ends it."""

    def __init__(self, stdio: Stdio, streams: Streams, keys: bytes = b"") -> None:
        self._streams = streams
        self._keys = DetachKeys(keys)
        self._pool = ThreadPoolExecutor(3, thread_name_prefix="corten-stdio")
        self._stop_outputs, self._stop_input = _Flag(), _Flag()
        self._fds: list[int] = []
        self._outputs: list[asyncio.Future[None]] = []
        self._input: asyncio.Future[None] | None = None
        self.detached = asyncio.Event()
        """Set when the person pressed the detach keys, or has gone with the terminal."""
        self.unread = asyncio.Event()
        """Set when something was written that nobody reads any more."""
        with mapped("open the FIFOs of a container"):
            self._readers = [
                (self._open(path, os.O_RDONLY), sink if sink is not None else _nowhere)
                for path, sink in ((stdio.stdout, streams.stdout), (stdio.stderr, streams.stderr))
                if path
            ]
            # Read-write, so that opening never fails for want of a reader, and what is typed early is not lost.
            self._writer = self._open(stdio.stdin, os.O_RDWR) if stdio.stdin and streams.stdin is not None else -1

    def copy_outputs(self) -> None:
        """From now on."""
        loop = asyncio.get_running_loop()

        def gone() -> None:
            with suppress(RuntimeError):  # the loop has ended meanwhile
                loop.call_soon_threadsafe(self.unread.set)

        for fd, sink in self._readers:
            stop = self._stop_outputs.fd
            self._outputs.append(loop.run_in_executor(self._pool, pump.drain, fd, sink, stop, gone))

    def copy_input(self, input_ended: Callable[[], Awaitable[None]]) -> None:
        """From now on; `input_ended` is called when standard input has come to its end.

        Only once the process is started: a shim may open an exec's FIFO that late, and what was written to a FIFO that
        both sides have not open is lost.
        """
        if self._writer >= 0:
            self._input = asyncio.ensure_future(self._typed(input_ended))

    async def drained(self, timeout: float = DRAIN_SECONDS) -> None:
        """Wait until the outputs have come to their end, up to `timeout` seconds."""
        if self._outputs:
            await asyncio.wait(self._outputs, timeout=timeout)

    async def close(self, *, left: bool = False) -> None:
        """Stop copying at once and close the descriptors; what is still in a FIFO stays there.

        With `left` what comes is read and thrown away from now on, though this process may be gone: who writes to a
        FIFO that nobody reads stands still when it is full.
        """
        self._stop_input.set()
        self._stop_outputs.set()
        work = [*self._outputs, *([self._input] if self._input else [])]
        await asyncio.gather(*work, return_exceptions=True)
        self._pool.shutdown()
        self._stop_input.close()
        self._stop_outputs.close()
        for fd, _ in self._readers if left else ():
            _throw_away(fd)
        while self._fds:
            os.close(self._fds.pop())

    async def _typed(self, ended: Callable[[], Awaitable[None]]) -> None:
        assert self._streams.stdin is not None
        source, fifo, stop = self._streams.stdin, self._writer, self._stop_input.fd
        try:
            await asyncio.get_running_loop().run_in_executor(self._pool, pump.feed, source, fifo, stop, self._seen)
        except OSError:
            pass  # a terminal that hung up is an end too
        if self._keys.pressed or (self._streams.outlived and not self._stop_input.is_set):
            self.detached.set()
        elif not self._stop_input.is_set:
            self._fds.remove(self._writer)
            os.close(self._writer)
            with suppress(CortenError):
                await ended()

    def _seen(self, typed: bytes) -> tuple[bytes, bool]:
        return self._keys.pass_on(typed), not self._keys.pressed

    def _open(self, path: str, flags: int) -> int:
        fd = os.open(path, flags | _NONBLOCK)
        self._fds.append(fd)
        pump.grow(fd)
        return fd


def _throw_away(fifo: int) -> None:
    if sys.platform == "win32":
        raise Unimplemented("FIFOs: Windows has none")
    os.set_blocking(fifo, True)
    null = subprocess.DEVNULL
    subprocess.Popen(["cat"], stdin=fifo, stdout=null, stderr=null, cwd="/", start_new_session=True)


class _Flag:
    """An event that poll(2) can wait for."""

    def __init__(self) -> None:
        self.is_set = False
        self.fd, self._far = os.pipe()

    def set(self) -> None:
        self.is_set = True
        os.write(self._far, b"x")

    def close(self) -> None:
        os.close(self.fd)
        os.close(self._far)


def _nowhere(data: bytes) -> None:
    pass
