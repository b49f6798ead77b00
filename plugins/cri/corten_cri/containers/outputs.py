"""What a process prints, read from FIFOs without a thread; kept up to a bound, and the rest read and dropped."""

from __future__ import annotations

import asyncio
import os
import sys
from contextlib import suppress
from pathlib import Path

from corten.errors import mapped

assert sys.platform != "win32"

CHUNK = 64 << 10


class Output:
    """One FIFO, open for reading before anybody writes to it."""

    def __init__(self, path: Path, limit: int) -> None:
        with mapped(f"make FIFO {path}"):
            os.mkfifo(path, 0o600)
            self._fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        self._path = path
        self._limit = limit
        self._loop = asyncio.get_running_loop()
        self._kept = bytearray()
        self._ended = asyncio.Event()
        self._seen_writer = False

    @property
    def data(self) -> bytes:
        """What was kept so far."""
        return bytes(self._kept)

    def begin(self) -> None:
        """Read from now on. To be called once a writer has it open: before that it would seem to have ended."""
        self._loop.add_reader(self._fd, self._read)

    async def end(self) -> None:
        """Until all writers have closed it."""
        await self._ended.wait()

    def close(self) -> None:
        """Read no more, and remove the FIFO; may be called again."""
        if self._fd >= 0:
            self._loop.remove_reader(self._fd)
            os.close(self._fd)
            self._fd = -1
        with suppress(FileNotFoundError):
            self._path.unlink()
        self._ended.set()

    def _read(self) -> None:
        try:
            data = os.read(self._fd, CHUNK)
        except BlockingIOError:
            return
        if not data:
            self._loop.remove_reader(self._fd)
            self._ended.set()
        elif len(self._kept) < self._limit:
            self._kept += data[: self._limit - len(self._kept)]
