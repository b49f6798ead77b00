"""The copier: one process per daemon that holds the FIFOs of shims which do not know the scheme `cri:`.

It writes their logs and serves those who attach, so that a restart of the daemon neither stops a container nor loses a
line. The daemon forks it from the zygote when the first such process is to be, and it ends when it has none. It keeps
nothing: killed, it is started anew by the daemon, which tells it again what to open (`corten_runtimes.copier`).

The payload is the path of its socket; the answer its pid, once the socket is there.
"""

import gc
import os
import stat
import sys
from collections.abc import Callable, Sequence
from typing import NamedTuple

from corten.api.shim.v1 import streams_pb2 as pb
from corten.errors import FailedPrecondition, NotFound, mapped
from corten.zygote import process
from google.protobuf.empty_pb2 import Empty

# ruff: noqa: E402  (what is imported below exists on Linux only)
assert sys.platform != "win32"

from .logged import Logged, Tap
from .loop import Later, Loop, Steps
from .server import Server, listen
from .streams_service import STREAMS

COPIER = "corten.shim.v1.Copier"
IDLE_MAX = 5.0
"""Seconds for which it stays without a process."""
CLOSE_MAX = 20.0
"""Seconds in which log and readers must take what the FIFOs of a process that is over still hold."""
TEND_EVERY = 60.0
_FLAGS = os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC


class Key(NamedTuple):
    """A process."""

    namespace: str
    id: str
    exec_id: str


def run(payload: bytes, fds: Sequence[int], ready: Callable[[bytes], None]) -> None:
    """Serve until nothing is open; see the module's docstring."""
    path = payload.decode()
    process.name_process("corten-copier")
    process.set_title(("corten-copier", path))
    copier = Copier(path)
    ready(b"%d" % os.getpid())
    copier.loop.run()
    copier.close()


class Copied:
    """The FIFOs of one process, and where their bytes go."""

    def __init__(self, loop: Loop, request: pb.OpenRequest) -> None:
        stderr = "" if request.terminal else request.stderr_uri
        self.logged = Logged(loop, request.stdin_uri, request.stdout_uri, stderr)
        self._taps: list[Tap] = []
        self._folder = os.path.dirname(request.stdout or request.stderr)
        self.over: Later[None] = Later()
        try:
            for tag, path in (("stdout", request.stdout), ("stderr", request.stderr)):
                if path:
                    self._taps.append(self.logged.output(tag, _fifo(path, os.O_RDONLY), self._ended))
            if request.stdin:
                self.logged.feed(_input(request.stdin))
        except BaseException:
            self.close()
            raise

    @property
    def forsaken(self) -> bool:
        """Whether its FIFOs were removed: no shim will open them."""
        return not os.path.exists(self._folder)

    def finish(self) -> None:
        """Carry what is there; `over` is set when it has arrived."""
        for tap in list(self._taps):
            tap.finish()
        if not self._taps:
            self.over.set(None)

    def close(self) -> None:
        """Let go of everything at once."""
        for tap in list(self._taps):
            tap.close()
        self.logged.close()
        self.over.set(None)

    def _ended(self, tap: Tap) -> None:
        self._taps.remove(tap)
        if not self._taps:
            self.over.set(None)


class Copier:
    """All that makes the process: its server and the processes that it copies for."""

    def __init__(self, path: str) -> None:
        self._path = path
        self.loop = Loop()
        self._copied: dict[Key, Copied] = {}
        self._served = 0
        streams = {"Attach": (pb.AttachRequest, self.attach), "ReopenLog": (pb.ReopenLogRequest, self.reopen_log)}
        copier = {
            "Open": (pb.OpenRequest, self.open),
            "CloseStdin": (pb.ProcessRequest, self.close_stdin),
            "Close": (pb.ProcessRequest, self.let_go),
        }
        self._server = Server(self.loop, {STREAMS: streams, COPIER: copier})
        self._server.serve(listen(path))
        self._rest()
        self.loop.after(TEND_EVERY, self._tend)

    def open(self, request: pb.OpenRequest) -> Steps[Empty]:
        key = Key(request.namespace, request.id, request.exec_id)
        if key not in self._copied:
            self._copied[key] = Copied(self.loop, request)
            self._served += 1
        return Empty()
        yield

    def attach(self, request: pb.AttachRequest) -> Steps[Empty]:
        copied = self._find(request)
        if copied.over.done:
            raise FailedPrecondition(f"{_name(request)}: it has ended")
        copied.logged.attach(request.stdin, request.stdout, request.stderr)
        return Empty()
        yield

    def reopen_log(self, request: pb.ReopenLogRequest) -> Steps[Empty]:
        self._find(request).logged.reopen()
        return Empty()
        yield

    def close_stdin(self, request: pb.ProcessRequest) -> Steps[Empty]:
        stdin = self._find(request).logged.input
        if stdin is not None:
            stdin.end()
        return Empty()
        yield

    def let_go(self, request: pb.ProcessRequest) -> Steps[Empty]:
        whole = Key(request.namespace, request.id, request.exec_id)
        for key in [key for key in self._copied if key == whole or (not whole.exec_id and key[:2] == whole[:2])]:
            copied = self._copied.pop(key)
            self.loop.after(CLOSE_MAX, copied.close)
            copied.finish()
            yield from copied.over.wait()
            copied.close()
        if not self._copied:
            self._rest()
        return Empty()

    def close(self) -> None:
        """Let go of all descriptors, and remove the socket."""
        self._server.close()
        for copied in self._copied.values():
            copied.close()
        try:
            os.unlink(self._path)
        except FileNotFoundError:
            pass

    def _find(self, request: pb.AttachRequest | pb.ReopenLogRequest | pb.ProcessRequest) -> Copied:
        copied = self._copied.get(Key(request.namespace, request.id, request.exec_id))
        if copied is None:
            raise NotFound(f"{_name(request)}: it has no streams that are copied")
        return copied

    def _rest(self) -> None:
        """With nothing open, end in a while, unless something was opened until then."""
        served = self._served

        def end() -> None:
            if not self._copied and served == self._served:
                self.loop.stop()

        self.loop.after(IDLE_MAX, end)

    def _tend(self) -> None:
        """Nobody can reach a copier whose socket was removed: it ends with the last FIFO that somebody may write to."""
        gc.collect()
        if not os.path.exists(self._path):
            for key in [key for key, copied in self._copied.items() if copied.over.done or copied.forsaken]:
                self._copied.pop(key).close()
            if not self._copied:
                self.loop.stop()
        self.loop.after(TEND_EVERY, self._tend)


def _name(request: pb.AttachRequest | pb.ReopenLogRequest | pb.ProcessRequest) -> str:
    return f"exec {request.exec_id!r} of task {request.id!r}" if request.exec_id else f"task {request.id!r}"


def _fifo(path: str, mode: int) -> int:
    with mapped(f"open FIFO {path}"):
        fd = os.open(path, mode | _FLAGS)
    if not stat.S_ISFIFO(os.fstat(fd).st_mode):
        os.close(fd)
        raise FailedPrecondition(f"open {path}: it is not a FIFO")
    return fd


def _input(path: str) -> int:
    """The writing end of a FIFO, also where the shim has not opened it for reading yet."""
    both = _fifo(path, os.O_RDWR)
    try:
        return _fifo(path, os.O_WRONLY)
    finally:
        os.close(both)
