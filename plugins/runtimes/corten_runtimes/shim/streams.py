"""The stdio of one process, from before runc starts it until nobody can write any more.

Five ways. *Direct*: the process gets the client's FIFO itself, for an init process in a pid namespace of its own: when
it has ended nobody is left who holds it. Its stderr is piped all the same, for runc writes there why it failed.
*Piped*: pipes and a copy, for execs and shared pid namespaces, where a background child may hold the streams: they are
closed `HELD_MAX` seconds after the exit at the latest. *Terminal*: a pty, copied both ways. *Logged*: piped, or from a
terminal, to a log and those who attach (see `logged`), or to a program of the user's (see `logger`). *Streamed*: piped,
or from a terminal, to whoever has opened a stream of the streaming API at this shim (see `streaming`).
"""

import os
import sys
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

# ruff: noqa: E402  (what is imported below exists on Linux only)
assert sys.platform != "win32"

from corten.errors import FailedPrecondition

from . import fifo
from .console import ConsoleSocket, resize
from .fifo import Ends
from .logged import SCHEME, Logged, Tap, kept
from .logger import SCHEMES, Logger
from .loop import Later, Loop, Steps, Timer
from .pump import Pump
from .spawn import NULL
from .streaming import Receiver, Sender, Stream, Streaming, is_stream

HELD_MAX = 10.0
"""Seconds after the exit of a process for which what it left behind may still write."""


class Stdio(NamedTuple):
    """What the client asked for: paths or URIs, empty for none."""

    stdin: str
    stdout: str
    stderr: str
    terminal: bool


class _Planned(NamedTuple):
    """A copy that begins with the process: to `sink`, or with a tag to log and readers; one of both with a stream."""

    source: int
    sink: int
    tag: str = ""
    output: bool = True
    stream: Stream | None = None


class Streams:
    """`child` is what runc gets; `started` or `close` follows; `ended` at the exit, `closed` when all is copied."""

    def __init__(
        self,
        loop: Loop,
        stdio: Stdio,
        *,
        direct: bool,
        console: str,
        owner: tuple[int, int],
        logger: Callable[[str], Logger],
        streaming: Streaming,
    ) -> None:
        self._loop, self._stdio, self._owner, self._start_logger = loop, stdio, owner, logger
        self._claim, self._claimed = streaming.claim, dict[str, Stream]()
        self._direct = direct and not stdio.terminal
        self._ends: list[Ends] = []
        self._input: Ends | None = None
        self._logged: Logged | None = None
        self._logger: Logger | None = None
        self._outputs: list[Pump | Tap | Sender] = []
        self._inputs: list[Pump | Receiver] = []
        self._children: list[int] = []
        self._planned: list[_Planned] = []
        self._master = -1
        self._sink = -1
        self._begun = self._exited = False
        self._late: Timer | None = None
        self._console: ConsoleSocket | None = None
        self.closed: Later[None] = Later()
        self.child = (NULL, NULL, NULL)
        try:
            self.child = self._open(console)
        except BaseException:
            self.close()
            raise

    @property
    def console(self) -> str:
        """The path for `--console-socket`; empty without a terminal."""
        return self._console.path if self._console else ""

    def ready(self) -> Steps[None]:
        """Wait, before the process is made, for the program that takes its output, if there is one."""
        if self._logger is not None:
            yield from self._logger.ready()

    def begin(self) -> None:
        """The process is about to run."""
        if self._input is not None:
            self._input.hold()

    def started(self) -> None:
        """The process runs: close what is its own, and begin to copy. Raises Internal if no terminal came."""
        self._close_children()
        if self._console is not None:
            self._attach(self._console.master())
            self._console.close()
            self._console = None
        for planned in self._planned:
            self._begin(planned)
        self._planned.clear()
        self._begun = True
        if self._exited:
            self._let_end()

    def ended(self) -> None:
        """The process has exited: `closed` is set once its output is through, or given up.

        It may be that quick that this is known before it counts as started: then the copies are yet to begin.
        """
        self._exited = True
        if self._begun:
            self._let_end()

    def _let_end(self) -> None:
        if not self._outputs:
            self._over()
        else:
            self._late = self._loop.after(HELD_MAX, self._finish)

    def close_stdin(self) -> None:
        """Let stdin end when the client closes its side."""
        if self._logged is not None and self._logged.input is not None:
            self._logged.input.end()
        if self._input is not None:
            self._input.release()
        for pump in list(self._inputs):
            if isinstance(pump, Receiver):
                pump.release()

    def attach(self, stdin: str, stdout: str, stderr: str, holds_up: bool) -> None:
        """Join FIFOs (paths, empty for none) to a process that is logged. Raises FailedPrecondition."""
        self._log().attach(stdin, stdout, stderr, holds_up)

    def reopen_log(self) -> None:
        """Open its log anew under its path. Raises FailedPrecondition."""
        self._log().reopen()

    def resize(self, width: int, height: int) -> None:
        """Set the terminal's size; nothing happens without one."""
        if self._master >= 0:
            resize(self._master, width, height)

    def close(self) -> None:
        """Let go of everything at once."""
        if self._late is not None:
            self._loop.cancel(self._late)
            self._late = None
        for pump in [*self._outputs, *self._inputs]:
            pump.close()
        if self._logged is not None:
            self._logged.close()
        if self._logger is not None:
            self._logger.close()
        for planned in self._planned:
            for fd in (planned.source, planned.sink):
                if fd >= 0:
                    os.close(fd)
        self._planned.clear()
        for stream in self._claimed.values():
            stream.done()
        self._claimed.clear()
        self._close_children()
        for ends in self._ends:
            ends.close()
        if self._console is not None:
            self._console.close()
        for fd in (self._master, self._sink):
            if fd >= 0:
                os.close(fd)
        self._master = self._sink = -1
        self.closed.set(None)

    def _open(self, console: str) -> tuple[int, int, int]:
        stdio = self._stdio
        for uri in (stdio.stdin, stdio.stdout, "" if stdio.terminal else stdio.stderr):
            if is_stream(uri):
                self._claimed[uri] = self._claim(uri)
        if any(kept(uri) for uri in stdio[:3]):
            self._logged = Logged(self._loop, stdio.stdin, stdio.stdout, "" if stdio.terminal else stdio.stderr)
        if stdio.stdout.startswith(SCHEMES):
            self._logger = self._start_logger(stdio.stdout)
            if stdio.terminal:
                os.close(self._logger.stderr)
                self._sink = self._logger.stdout
                os.set_blocking(self._sink, False)
            else:
                self._children += [self._logger.stdout, self._logger.stderr]
        if stdio.terminal:
            self._console = ConsoleSocket(console)
            return (NULL, NULL, NULL)
        if self._logger is not None:
            outputs = self._chown(self._logger.stdout), self._chown(self._logger.stderr)
        else:
            outputs = (self._open_output("stdout", stdio.stdout), self._open_output("stderr", stdio.stderr))
        return (self._open_stdin(), *outputs)

    def _open_stdin(self) -> int:
        if not self._stdio.stdin:
            return NULL
        if self._logged is not None and self._stdio.stdin.startswith(SCHEME):
            read, write = os.pipe2(os.O_CLOEXEC)
            self._children.append(read)
            self._logged.feed(write)
            return self._chown(read)
        if stream := self._claimed.get(self._stdio.stdin):
            read, write = os.pipe2(os.O_CLOEXEC)
            self._children.append(self._chown(read))
            os.set_blocking(write, False)
            self._planned.append(_Planned(-1, write, output=False, stream=stream))
            return read
        ends = self._own(fifo.open_input(self._stdio.stdin, blocking=self._direct, later=self._direct))
        self._input = ends
        if self._direct or not ends.fifo:
            return self._for_child(ends)
        read, write = os.pipe2(os.O_CLOEXEC)
        self._children.append(self._chown(read))
        os.set_blocking(write, False)
        self._planned.append(_Planned(ends.fd, write, output=False))
        ends.fd = -1
        return read

    def _open_output(self, tag: str, uri: str) -> int:
        if not uri:
            return NULL
        if kept(uri) or is_stream(uri):
            read, write = self._pipe()
            self._planned.append(_Planned(read, -1, tag, stream=self._claimed.get(uri)))
            return write
        direct = self._direct and tag != "stderr"  # runc complains there too, which is not the container's to say
        ends = self._own(fifo.open_output(uri, blocking=direct))
        if direct or not ends.fifo:
            return self._for_child(ends)
        read, write = self._pipe()
        self._planned.append(_Planned(read, ends.fd))
        ends.fd = -1
        return write

    def _pipe(self) -> tuple[int, int]:
        """A pipe for an output: our end, and that of the process."""
        read, write = fifo.pipe_pair()
        self._children.append(self._chown(write))
        os.set_blocking(read, False)
        return read, write

    def _for_child(self, ends: Ends) -> int:
        """Hand the client's own descriptor to the child; only the holder stays with the shim."""
        fd, ends.fd = ends.fd, -1
        self._children.append(fd)
        return self._chown(fd) if ends.fifo else fd

    def _attach(self, master: int) -> None:
        self._master = master
        stdio = self._stdio
        if is_stream(stdio.stdout) or (self._logged is not None and kept(stdio.stdout)):
            self._planned.append(_Planned(os.dup(master), -1, "stdout", stream=self._claimed.get(stdio.stdout)))
        elif self._sink >= 0:
            self._planned.append(_Planned(os.dup(master), self._sink))
            self._sink = -1
        elif stdio.stdout:
            ends = self._own(fifo.open_output(stdio.stdout, blocking=False))
            sink, ends.fd = ends.fd, -1
            self._planned.append(_Planned(os.dup(master), sink))
        else:
            self._planned.append(_Planned(os.dup(master), os.open("/dev/null", os.O_WRONLY | os.O_CLOEXEC)))
        if self._logged is not None and stdio.stdin.startswith(SCHEME):
            self._logged.feed(os.dup(master))
        elif stream := self._claimed.get(stdio.stdin):
            self._planned.append(_Planned(-1, os.dup(master), output=False, stream=stream))
        elif stdio.stdin:
            ends = self._input = self._own(fifo.open_input(stdio.stdin, blocking=False))
            source, ends.fd = ends.fd, -1
            self._planned.append(_Planned(source, os.dup(master), output=False))

    def _begin(self, planned: _Planned) -> None:
        if planned.stream is not None:
            planned.stream.serve(self._streamed(planned))
        elif planned.tag and self._logged is not None:
            self._outputs.append(self._logged.output(planned.tag, planned.source, self._tapped))
        else:
            self._pump(planned.source, planned.sink, planned.output)

    def _streamed(self, planned: _Planned) -> Sender | Receiver:
        ended = partial(self._pumped, planned.output)
        if planned.output:
            sender = Sender(self._loop, planned.source, ended)
            self._outputs.append(sender)
            return sender
        receiver = Receiver(self._loop, planned.sink, ended, lasting=True)
        self._inputs.append(receiver)
        return receiver

    def _tapped(self, tap: Tap) -> None:
        """All of a logged output has arrived."""
        if tap in self._outputs:
            self._outputs.remove(tap)
        if not self._outputs:
            self._outputs_ended()

    def _log(self) -> Logged:
        if self._logged is None or not self._logged.attachable:
            raise FailedPrecondition("the process has no streams that are logged (they are not of the scheme cri:)")
        return self._logged

    def _pump(self, source: int, sink: int, output: bool) -> None:
        pumps: list[Any] = self._outputs if output else self._inputs
        pumps.append(Pump(self._loop, source, sink, partial(self._pumped, output), pipes=self._master < 0))

    def _pumped(self, output: bool, pump: Pump | Sender | Receiver) -> None:
        pumps: list[Any] = self._outputs if output else self._inputs
        if pump in pumps:
            pumps.remove(pump)
        if output and not self._outputs:
            self._outputs_ended()

    def _outputs_ended(self) -> None:
        """All that is copied is at its end: the client sees it when the holders go too."""
        for ends in self._ends if not self._direct or self._exited else ():
            if ends is not self._input:
                ends.close()
        if self._exited:
            self._over()

    def _over(self) -> None:
        """All has been written: it is closed when whoever still has to take it, has."""
        if self._logger is None:
            self.close()
        else:
            self._logger.finish().then(self.close)

    def _finish(self) -> None:
        for pump in list(self._outputs):
            pump.finish()

    def _own(self, ends: Ends) -> Ends:
        self._ends.append(ends)
        return ends

    def _chown(self, fd: int) -> int:
        if self._owner != (0, 0):
            os.fchown(fd, *self._owner)
        return fd

    def _close_children(self) -> None:
        for fd in self._children:
            os.close(fd)
        self._children.clear()
