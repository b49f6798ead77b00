"""The process that stays of a shim: it waits, and forks a worker for each burst of work.

All that a shim does is done by its worker, a child, and what a worker touches of the memory shared with the zygote
costs nothing once it has ended. When nothing is left to do it *parks*: it leaves what it knows and its descriptors (see
`parcel`) in a socket, as a message that the next worker receives, and ends. The descriptors stay open in that message,
and registered with the one epoll that all workers of a shim use; the keeper looks at nothing but whether that has
something to tell.

The keeper is the sub-reaper. It writes the exit of every process into a pipe that workers read, so that one that is
told while no worker is there is read by the next.
"""

# What `signal` and `socket` wrap: the wrappers make enums, which costs a shim 100 KiB.
import _signal  # type: ignore[import-not-found]
import _socket
import os
import select
import sys
import time
from collections.abc import Callable
from struct import Struct

assert sys.platform != "win32"

PARKED = 75
"""Exit status of a worker that has left what it knows for the next."""
LOOK_EVERY = 60_000
"""Milliseconds between looks at whether the socket is still there, by which alone somebody can reach the shim."""
EXIT = Struct("=iiq")
"""A process's exit in the pipe: pid, status of waitpid(2), ns since the epoch."""
_REAPED_MAX = 1024
"""Exits told before a worker must have read some: the pipe has room for 4,096."""


class Keeper:
    """`epoll`, `exits` (the pipe's reading end) and `lot` (ends to leave and to take a parcel) are for the workers."""

    def __init__(self, path: str) -> None:
        self._path = path
        self.pid = os.getpid()
        self.parked = False
        self.epoll = select.epoll()
        self.exits, self._tell = os.pipe2(os.O_CLOEXEC)
        self._woken, self._wake = os.pipe2(os.O_CLOEXEC)
        for fd in (self._wake, self.exits):
            os.set_blocking(fd, False)
        self.lot = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET | _socket.SOCK_CLOEXEC)
        self._poll = select.poll()
        self._poll.register(self.epoll.fileno(), 1)
        self._poll.register(self._woken, 1)
        _signal.set_wakeup_fd(self._wake, warn_on_full_buffer=False)
        _signal.signal(_signal.SIGCHLD, _nothing)

    def keep(self, begun: Callable[[], None]) -> int | None:
        """Fork workers until one ends that has not parked, and return its status; in each worker return None.

        `begun` is called when the first is there. When there are no more processes to be had, this one becomes the
        worker itself, for good.
        """
        worker = _fork()
        if worker:
            begun()
        while worker:
            status = self._watch_over(worker)
            if status != PARKED:
                return status
            self.parked = True
            self._wait()
            worker = _fork()
        self._become_worker()
        return None

    def close(self) -> None:
        """Let go of all descriptors; of use to those alone who go on after it."""
        _signal.set_wakeup_fd(-1)
        for fd in (self._woken, self._wake, self.exits, self._tell):
            os.close(fd)
        for end in self.lot:
            end.close()
        self.epoll.close()

    def _become_worker(self) -> None:
        _signal.set_wakeup_fd(-1)
        for fd in (self._woken, self._wake, *((self._tell,) if self.apart else ())):
            os.close(fd)

    @property
    def apart(self) -> bool:
        """Whether this process is a worker, and not the keeper."""
        return os.getpid() != self.pid

    def _watch_over(self, worker: int) -> int:
        """Wait for the end of the worker; returns its exit status, 1 if it was killed."""
        while True:
            os.read(self._woken, 64)
            ended = self._reap(worker)
            if ended >= 0:
                return ended >> 8 if not ended & 255 else 1

    def _wait(self) -> None:
        """Until there is something to do."""
        while True:
            told = self._poll.poll(LOOK_EVERY)
            if not told and not os.access(self._path, os.F_OK):
                return
            for fd, _ in told:
                if fd != self._woken:
                    return
                os.read(fd, 64)
                self._reap(0)

    def _reap(self, worker: int) -> int:
        """Tell all exits but the worker's, whose status is returned; -1 if it has not ended."""
        ended = -1
        for _ in range(_REAPED_MAX):
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return ended
            if not pid:
                return ended
            if pid == worker:
                ended = status
            else:
                os.write(self._tell, EXIT.pack(pid, status, time.time_ns()))
        os.write(self._wake, b"\0")  # there may be more
        return ended


def _fork() -> int:
    try:
        return os.fork()
    except OSError:
        return 0


def _nothing(signum: int, frame: object) -> None:
    """A handler must exist for the wake-up descriptor to be written."""
