"""The copier: one process per daemon that holds the FIFOs of shims which do not know the scheme `cri:`.

It reads streams of the streaming API too, of shims that serve them, in place of FIFOs.

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
from functools import partial
from typing import NamedTuple

from corten.api.shim.v1 import streams_pb2 as pb
from corten.errors import FailedPrecondition, NotFound, mapped
from corten.zygote import process
from google.protobuf.empty_pb2 import Empty

# ruff: noqa: E402  (what is imported below exists on Linux only)
assert sys.platform != "win32"

from . import fifo
from .aside import LogAside
from .far import FarStreams
from .fifo import Ends
from .logged import Logged, Tap, kept
from .loop import Later, Loop, Steps
from .server import Server, listen
from .streaming import Receiver, Sender, is_stream, parsed
from .streams_service import STREAMS

COPIER = "corten.shim.v1.Copier"
IDLE_MAX = 5.0
"""Seconds for which it stays without a process."""
CLOSE_MAX = 20.0
"""Seconds in which log and readers must take what the FIFOs of a process that is over still hold."""
TEND_EVERY = 60.0
_SWITCH = 0.0005
"""Seconds until a thread that has written gets its turn; what they do in Python is little."""
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
    sys.setswitchinterval(_SWITCH)
    copier = Copier(path)
    ready(b"%d" % os.getpid())
    copier.loop.run()
    copier.close()


class Copied:
    """The FIFOs or streams of one process, and where their bytes go."""

    def __init__(self, loop: Loop, request: pb.OpenRequest) -> None:
        self._loop, self._far = loop, _far(loop, request)
        self._receivers: list[Receiver] = []
        self._senders: list[Sender] = []
        self._ends: list[Ends] = []
        stderr = "" if request.terminal else request.stderr_uri
        self.logged = Logged(loop, request.stdin_uri, request.stdout_uri, stderr, LogAside)
        self._taps: list[Tap] = []
        self._folder = os.path.dirname(request.stdout or request.stderr)
        self.over: Later[None] = Later()
        try:
            for tag, path, uri in (
                ("stdout", request.stdout, request.stdout_uri),
                ("stderr", request.stderr, request.stderr_uri),
            ):
                if is_stream(path):
                    self._receive(tag, path, uri)
                elif path:
                    self._taps.append(self.logged.output(tag, _fifo(path, os.O_RDONLY), self._ended))
            if is_stream(request.stdin):
                self._send(request.stdin, request.stdin_uri)
            elif request.stdin:
                self.logged.feed(_input(request.stdin))
        except BaseException:
            self.close()
            raise

    @property
    def forsaken(self) -> bool:
        """Whether its FIFOs were removed, so that no shim will open them, or the shim with its streams has gone."""
        return not self._far.open if self._far is not None else not os.path.exists(self._folder)

    def finish(self) -> None:
        """Carry what is there; `over` is set when it has arrived."""
        for tap in list(self._taps) if self._far is None else ():  # the ends of streams are told
            tap.finish()
        self._look()

    def close_stdin(self) -> None:
        """The process sees the end of its stdin, after what is on its way to it."""
        if self.logged.input is not None:
            self.logged.input.end()
        for ends in self._ends:
            ends.release()

    def close(self) -> None:
        """Let go of everything at once."""
        for tap in list(self._taps):
            tap.close()
        for receiver in list(self._receivers):
            receiver.close()
        for sender in list(self._senders):
            sender.close()
        self.logged.close()
        for ends in self._ends:
            ends.close()
        if self._far is not None:
            self._far.close()
        self.over.set(None)

    def _receive(self, tag: str, stream: str, uri: str) -> None:
        """Output of a stream, to the log and those who attach, or to a client's FIFO."""
        if kept(uri):
            read, write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
            self._taps.append(self.logged.output(tag, read, self._ended))
            receiver = Receiver(self._loop, write, self._received, lasting=False)
        else:
            ends = fifo.open_output(uri, blocking=False)
            self._ends.append(ends)
            sink, ends.fd = ends.fd, -1
            receiver = Receiver(self._loop, sink, partial(self._received, ends=ends), lasting=False)
        self._receivers.append(receiver)
        self._open(stream, receiver)

    def _send(self, stream: str, uri: str) -> None:
        """Input of those who attach, or of a client's FIFO, to a stream."""
        if kept(uri):
            read, write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
            self.logged.feed(write)
        else:
            ends = fifo.open_input(uri, blocking=False)
            self._ends.append(ends)
            read, ends.fd = ends.fd, -1
        sender = Sender(self._loop, read, self._sent)
        self._senders.append(sender)
        self._open(stream, sender)

    def _open(self, stream: str, end: Sender | Receiver) -> None:
        assert self._far is not None
        self._far.open_stream(parsed(stream)[1], end)

    def _received(self, receiver: Receiver, ends: Ends | None = None) -> None:
        if receiver in self._receivers:
            self._receivers.remove(receiver)
        if ends is not None:
            ends.close()  # now whoever reads sees the end
        self._look()

    def _sent(self, sender: Sender) -> None:
        if sender in self._senders:
            self._senders.remove(sender)

    def _ended(self, tap: Tap) -> None:
        self._taps.remove(tap)
        self._look()

    def _look(self) -> None:
        if not self._taps and not self._receivers:
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
        copied.logged.attach(request.stdin, request.stdout, request.stderr, request.holds_up)
        return Empty()
        yield

    def reopen_log(self, request: pb.ReopenLogRequest) -> Steps[Empty]:
        self._find(request).logged.reopen()
        return Empty()
        yield

    def close_stdin(self, request: pb.ProcessRequest) -> Steps[Empty]:
        self._find(request).close_stdin()
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


def _far(loop: Loop, request: pb.OpenRequest) -> FarStreams | None:
    """A connection to the shim whose streams are to be read, if it is streams."""
    for path in (request.stdout, request.stderr, request.stdin):
        if is_stream(path):
            return FarStreams(loop, parsed(path)[0])
    return None


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
