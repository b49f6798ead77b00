"""The streams of a process that keeps a log and may be attached to: stdio of the scheme `cri:`, and plain `file://`.

`Logged` has what the process's streams share, the log file and its readers; a `Tap` carries one output to them. The own
shim has them for its processes, and the copier for those of other shims.
"""

import fcntl
import os
import sys
import termios
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from corten.errors import FailedPrecondition, InvalidArgument, ResourceExhausted, mapped

# ruff: noqa: E402  (what is imported below exists on Linux only)
assert sys.platform != "win32"

from .aside import LogAside
from .attached import ATTACHED_MAX, Audience, Input, open_reader, open_writer
from .lines import Lines, Raw
from .logfile import LogFile, piece
from .loop import IN, Loop

SCHEME, FILE = "cri:", "file://"
STDIN, STDIN_ONCE = "cri:stdin", "cri:stdin?once"


class LogUri(NamedTuple):
    """What a `cri:` URI of an output says: no path means no log."""

    path: str
    max_line: int
    plain: bool = False
    """Output as it is, in a file."""


def kept(uri: str) -> bool:
    """Whether it is of one of the schemes here."""
    return uri.startswith((SCHEME, FILE))


def parse(uri: str) -> LogUri:
    """See `corten.contracts.runtime.CRI_LOG`. Raises InvalidArgument."""
    if uri.startswith(FILE):
        path = unquote(uri.removeprefix(FILE).partition("?")[0])
        if not path.startswith("/"):
            raise InvalidArgument(f"stdio {uri!r}: not of the form file:///absolute/path")
        return LogUri(path, 0, plain=True)
    path, _, query = uri.removeprefix(SCHEME).partition("?")
    path = unquote(path.removeprefix("//"))
    name, _, value = query.partition("=")
    if (path and not path.startswith("/")) or (query and not (name == "max_line" and value.isdecimal())):
        raise InvalidArgument(f"stdio {uri!r}: not of the form cri:///absolute/path?max_line=BYTES")
    return LogUri(path, int(value or 0))


def unquote(path: str) -> str:
    """What urllib.parse.unquote does, which would cost every shim its tables."""
    first, *rest = path.encode().split(b"%")
    try:
        return b"".join([first, *(bytes.fromhex(part[:2].decode()) + part[2:] for part in rest)]).decode()
    except ValueError:
        raise InvalidArgument(f"stdio path {path!r}: not percent-encoded UTF-8") from None


class Logged:
    """`stdin`, `stdout` and `stderr` are URIs, of which those of the scheme count. Raises what opening a log does."""

    def __init__(
        self, loop: Loop, stdin: str, stdout: str, stderr: str, log: type[LogFile] | type[LogAside] = LogFile
    ) -> None:
        if stdin.startswith(SCHEME) and stdin not in (STDIN, STDIN_ONCE):
            raise InvalidArgument(f"stdio {stdin!r}: as stdin only {STDIN} and {STDIN_ONCE}")
        self._loop, self._once = loop, stdin == STDIN_ONCE
        self._uris = {tag: parse(uri) for tag, uri in (("stdout", stdout), ("stderr", stderr)) if kept(uri)}
        self.attachable = stdout.startswith(SCHEME) or stderr.startswith(SCHEME)
        if stdin.startswith(SCHEME) and not self.attachable:
            raise InvalidArgument(f"stdio {stdin!r}: only with an output of the scheme {SCHEME}")
        self._logs: dict[str, LogFile | LogAside] = {}
        self._taps: dict[str, Tap] = {}
        self.input: Input | None = None
        try:
            for path, uri in {uri.path: uri for uri in self._uris.values() if uri.path}.items():
                if uri.plain:
                    with mapped(f"stdio file://{path}"):
                        os.makedirs(os.path.dirname(path), 0o755, exist_ok=True)
                self._logs[path] = log(loop, path, self._freed, plain=uri.plain)
        except BaseException:
            self.close()
            raise

    def output(self, tag: str, source: int, ended: "Callable[[Tap], None]") -> "Tap":
        """Carry what comes from `source` (non-blocking, owned) until it ends."""
        uri = self._uris[tag]
        lines = Raw() if uri.plain else Lines(tag, uri.max_line)
        tap = self._taps[tag] = Tap(self._loop, source, lines, self._logs.get(uri.path), ended)
        return tap

    def feed(self, sink: int) -> None:
        """Carry what those who attach write to `sink` (owned)."""
        self.input = Input(self._loop, sink, once=self._once)

    def attach(self, stdin: str, stdout: str, stderr: str, holds_up: bool) -> None:
        """Join FIFOs, empty for none. Raises FailedPrecondition, InvalidArgument, NotFound, ResourceExhausted."""
        if stdin and self.input is None:
            raise FailedPrecondition(f"attach to FIFO {stdin}: the process has no stdin to attach to")
        joins: list[tuple[int, Callable[[int], None]]] = []
        try:
            for tag, path in (("stdout", stdout), ("stderr", stderr)):
                if path and tag in self._taps:
                    audience = self._taps[tag].audience
                    _bounded(audience.crowded)
                    joins.append((open_reader(path), partial(audience.add, holds_up=holds_up)))
            if stdin and self.input is not None:
                _bounded(self.input.crowded)
                joins.append((open_writer(stdin), self.input.add))
        except BaseException:
            for fd, _ in joins:
                os.close(fd)
            raise
        for fd, join in joins:
            join(fd)

    def reopen(self) -> None:
        """Open the logs anew under their paths. Raises FailedPrecondition if there is none."""
        if not self._logs:
            raise FailedPrecondition("the process keeps no log")
        for log in self._logs.values():
            log.reopen()

    def close(self) -> None:
        """Let go of everything; its taps are to be closed before."""
        if self.input is not None:
            self.input.close()
        for log in self._logs.values():
            log.close()

    def _freed(self) -> None:
        for tap in list(self._taps.values()):
            tap.resume()


def _bounded(crowded: bool) -> None:
    if crowded:
        raise ResourceExhausted(f"attach: {ATTACHED_MAX} are attached already, the most that a stream may have")


class Tap:
    """One output on its way to log and readers; `ended` is called once, when all of it has arrived."""

    def __init__(
        self,
        loop: Loop,
        source: int,
        lines: Lines | Raw,
        log: LogFile | LogAside | None,
        ended: "Callable[[Tap], None]",
    ) -> None:
        self._loop, self._source, self._lines, self._log, self._ended = loop, source, lines, log, ended
        self.audience = Audience(loop, self.resume)
        self._left: int | None = None
        self._paused = self._told = self._carrying = self._finishing = False
        loop.watch(source, IN, self._fill)

    def finish(self) -> None:
        """Carry what is there now, then stop, whoever still holds the other end."""
        if self._carrying:
            self._finishing = True
        elif self._source >= 0:
            self._left = self._waiting()
            if not self._left:
                self._end()

    def close(self) -> None:
        """Stop now; what is on the way is lost."""
        self._end()
        self.audience.close()
        self._tell()

    def resume(self) -> None:
        """Log and readers may have room again."""
        if self._blocked:
            return
        if self._source < 0:
            self._tell()
        elif self._paused:
            self._paused = False
            self._loop.watch(self._source, IN, self._fill)

    @property
    def _blocked(self) -> bool:
        return self.audience.behind or (self._log is not None and self._log.full)

    def _fill(self, events: int) -> None:
        there = bool(events & IN)
        if not self._blocked:
            self._carrying = True
            if self._log is None:
                self._carried(piece(self._source, there))
            else:
                self._log.carry(self._source, there, self._lines, self._carried)
        if self._source >= 0 and self._blocked:
            self._paused = True
            self._loop.forget(self._source)

    def _carried(self, data: bytes | None) -> None:
        self._carrying = False
        if self._source < 0:
            return
        if data:
            self.audience.send(data)
        if self._left is not None:
            self._left -= len(data or b"")
        if data == b"" or (self._left is not None and self._left <= 0):
            self._end()
        elif self._finishing:
            self._finishing = False
            self.finish()

    def _end(self) -> None:
        if self._source >= 0:
            self._loop.forget(self._source)
            os.close(self._source)
            self._source = -1
            if self._log is not None:
                self._log.write(self._lines.end())
            self.audience.end()
            if not self._blocked:
                self._tell()

    def _tell(self) -> None:
        if not self._told:
            self._told = True
            self._ended(self)

    def _waiting(self) -> int:
        return int.from_bytes(fcntl.ioctl(self._source, termios.FIONREAD, bytes(4)), "little")
