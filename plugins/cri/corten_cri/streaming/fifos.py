"""FIFOs between a process in a container and a client, read and written on the event loop, without a thread."""

import asyncio
import os
import sys
from pathlib import Path

from corten.errors import mapped
from corten.values import dataclass

assert sys.platform != "win32"

CHUNK = 64 << 10
_FLAGS = os.O_NONBLOCK | os.O_CLOEXEC


class FifoSource:
    """What a process writes (contract `Source`). Opened before its writer, so that it need not wait for a reader."""

    def __init__(self, path: Path) -> None:
        with mapped(f"make the FIFO {path}"):
            os.mkfifo(path, 0o600)
            self._fd = os.open(path, os.O_RDONLY | _FLAGS)
        self._path = path

    async def read(self) -> bytes:
        """Waits for a writer too: until there was one, the end is not the end."""
        while self._fd >= 0:
            await _ready(self._fd, writing=False)
            try:
                return os.read(self._fd, CHUNK)
            except BlockingIOError:
                continue
        return b""

    def close(self) -> None:
        self._fd = _close(self._fd)
        self._path.unlink(missing_ok=True)


class FifoSink:
    """What a process reads (contract `Sink`).

    Opened for both directions: that needs no reader yet, and what is written early waits for it.
    """

    def __init__(self, path: Path) -> None:
        with mapped(f"make the FIFO {path}"):
            os.mkfifo(path, 0o600)
            self._fd = os.open(path, os.O_RDWR | _FLAGS)
        self._path = path

    async def write(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            if self._fd < 0:
                raise ConnectionResetError(f"{self._path} is closed")
            try:
                view = view[os.write(self._fd, view) :]
            except BlockingIOError:
                await _ready(self._fd, writing=True)

    def end(self) -> None:
        """Nothing more will be written; the name stays until `close`."""
        self._fd = _close(self._fd)

    def close(self) -> None:
        self.end()
        self._path.unlink(missing_ok=True)


@dataclass(frozen=True, slots=True)
class Fifos:
    """Those of one process, and their paths (empty for none)."""

    folder: Path
    name: str
    stdin: FifoSink | None
    stdout: FifoSource | None
    stderr: FifoSource | None

    @classmethod
    def make(cls, folder: Path, name: str, *, stdin: bool, stdout: bool, stderr: bool) -> "Fifos":
        """Raises a CortenError, and leaves nothing then."""
        made: list[FifoSink | FifoSource] = []
        try:
            for kind, wanted, path in (
                (FifoSink, stdin, "stdin"), (FifoSource, stdout, "stdout"), (FifoSource, stderr, "stderr"),
            ):  # fmt: skip
                if wanted:
                    made.append(kind(folder / f"{name}-{path}"))
        except BaseException:
            for each in made:
                each.close()
            raise
        sources = iter(each for each in made if isinstance(each, FifoSource))
        sink = next((each for each in made if isinstance(each, FifoSink)), None)
        return cls(folder, name, sink, next(sources) if stdout else None, next(sources) if stderr else None)

    def path(self, stream: str) -> str:
        return str(self.folder / f"{self.name}-{stream}") if getattr(self, stream) is not None else ""

    def close(self) -> None:
        """Descriptors and names; harmless when done before."""
        for each in (self.stdin, self.stdout, self.stderr):
            if each is not None:
                each.close()


async def _ready(fd: int, *, writing: bool) -> None:
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[None] = loop.create_future()
    add, remove = (loop.add_writer, loop.remove_writer) if writing else (loop.add_reader, loop.remove_reader)
    add(fd, _settle, ready)
    try:
        await ready
    finally:
        remove(fd)


def _settle(future: "asyncio.Future[None]") -> None:
    if not future.done():
        future.set_result(None)


def _close(fd: int) -> int:
    if fd >= 0:
        os.close(fd)
    return -1
