"""A blob on its way into a store, whose bytes others may have as they come (`corten.contracts.diff.Arriving`)."""

import asyncio
import os
import sys
from threading import Lock

from corten.errors import Unavailable


class Followed:
    """What follows an arrival already, for one who reads it later; any thread may call."""

    def __init__(self, digest: str, *fds: int) -> None:
        self._digest = digest
        self._lock = Lock()
        self._fds = fds

    def __repr__(self) -> str:
        return f"Followed({self._digest}, {self._fds})"

    def follow(self) -> tuple[int, int]:
        """See `Arriving`; once, and not after `close`."""
        if not (fds := self._taken()):
            raise Unavailable(f"content {self._digest}: nobody waits for it any more")
        return fds[0], fds[1]

    def close(self) -> None:
        """What was not taken is closed."""
        for fd in self._taken():
            os.close(fd)

    def _taken(self) -> tuple[int, ...]:
        with self._lock:
            fds, self._fds = self._fds, ()
            return fds


class Arrival:
    """The writer's side is used on one event loop; `followed` may be called from any thread."""

    def __init__(self, digest: str) -> None:
        self._digest = digest
        self._lock = Lock()
        self._file = -1
        self._pipes: list[int] = []
        self._begun = asyncio.Event()

    def __repr__(self) -> str:
        return f"Arrival({self._digest}, {'on its way' if self._file >= 0 else 'not on its way'})"

    async def begun(self) -> bool:
        """Wait until there is something to follow; false if there will be nothing: the blob is there, or failed."""
        await self._begun.wait()
        return self._file >= 0

    def follow(self) -> tuple[int, int]:
        """See `Arriving`."""
        if (followed := self.followed()) is None:
            raise Unavailable(f"content {self._digest}: it is not on its way (any more)")
        return followed.follow()

    def followed(self) -> Followed | None:
        """From now on; None if it is not on its way (any more)."""
        with self._lock:
            if self._file < 0:
                return None
            reading, writing = os.pipe()
            if sys.platform != "win32":
                os.set_blocking(writing, False)
            self._pipes.append(writing)
            return Followed(self._digest, _again(self._file), reading)

    def begin(self, fd: int) -> None:
        """The blob is being written to the open file `fd`; -1 for a store that has no such thing."""
        with self._lock:
            if fd >= 0 and self._file < 0 and not self._begun.is_set() and sys.platform != "win32":
                self._file = _again(fd)
        self._begun.set()

    def grew(self) -> None:
        """More bytes are in the file."""
        with self._lock:
            for pipe in self._pipes:
                try:
                    os.write(pipe, b".")
                except (BlockingIOError, BrokenPipeError):
                    pass  # who follows has much to read before it looks again, or has ended

    def close(self) -> None:
        """It grows no more: all bytes are in the file, or the rest is not coming."""
        with self._lock:
            for fd in [*self._pipes, self._file]:
                if fd >= 0:
                    os.close(fd)
            self._pipes, self._file = [], -1
        self._begun.set()


def _again(fd: int) -> int:
    """The same file with an offset of its own."""
    return os.open(f"/proc/self/fd/{fd}", os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
