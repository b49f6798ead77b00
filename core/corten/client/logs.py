"""Logs of containers that nobody watches: where they lie, how they are asked for, and how they are read.

A daemon that can be attached to (`Attachments`) writes the kubelet's format, one file for both streams; another one
writes what comes, without times. The container's label `corten.io/log` names the file.
"""

import os
import re
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import BinaryIO
from urllib.parse import quote, unquote

from corten.contracts.runtime import CRI_LOG, CRI_STDIN, Stdio
from corten.errors import InvalidArgument, mapped
from corten.values import dataclass

LOG_LABEL = "corten.io/log"
FOLDER_VARIABLE = "CORTEN_LOGS"
DEFAULT_FOLDER = "/var/log/corten"
MAX_LINE = 16 << 10
"""Bytes of a line after which the log goes on in another, as a part."""
_TIME = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?([Zz]|[+-]\d\d:\d\d)", re.ASCII)
_BLOCK = 1 << 16


@dataclass(frozen=True, slots=True)
class Entry:
    """A piece of output. `ends`: a line ended with it. `time` is RFC 3339, empty where the log keeps no times."""

    time: str
    stream: str
    text: bytes
    ends: bool = True


def default_path(namespace: str, id: str) -> str:
    """Where the log of a container lies unless it is told otherwise; the folder by `CORTEN_LOGS`."""
    return os.path.join(os.environ.get(FOLDER_VARIABLE, DEFAULT_FOLDER), namespace, f"{id}.log")


def path(text: str) -> str:
    """The file that a person names for a log: its path, or a URI `file://PATH`. Raises InvalidArgument."""
    scheme, colon, rest = text.partition("://")
    if colon and scheme == "file":
        return os.path.abspath(unquote(rest.partition("?")[0]))
    if colon and scheme.isidentifier():
        raise InvalidArgument(f"log {text!r}: it is the path of a file, or a URI file://PATH")
    return os.path.abspath(text)


def make_folder(path: str) -> None:
    """Have a folder for the log; what containers print is for nobody but root."""
    with mapped(f"make a folder for the log {path}"):
        os.makedirs(os.path.dirname(path), 0o750, exist_ok=True)


def uri(path: str, *, joinable: bool) -> str:
    """What a task is given as its stdout and stderr."""
    return f"{CRI_LOG}://{quote(path)}?max_line={MAX_LINE}" if joinable else f"file://{quote(path)}"


def stdio(path: str, *, joinable: bool, stdin: bool = False, terminal: bool = False) -> Stdio:
    """The streams of a task that keeps its log at `path`."""
    there = uri(path, joinable=joinable)
    return Stdio(CRI_STDIN if stdin and joinable else "", there, "" if terminal else there, terminal)


def is_joinable(stdio: Stdio) -> bool:
    """Whether a process has streams that anybody may join."""
    return stdio.stdout.startswith(f"{CRI_LOG}:")


def parse(line: bytes) -> Entry:
    """A line of a log, with or without its line feed; what is not in the kubelet's format is taken as it is."""
    whole = line.removesuffix(b"\n")
    head = whole.split(b" ", 3)
    if len(head) >= 3 and head[1] in (b"stdout", b"stderr") and head[2] in (b"F", b"P"):
        text = head[3] if len(head) == 4 else b""
        return Entry(head[0].decode("ascii", "replace"), head[1].decode(), text, head[2] == b"F")
    return Entry("", "stdout", whole, line.endswith(b"\n"))


def nanoseconds(time: str) -> int:
    """An RFC 3339 time with up to nine digits of a second as nanoseconds since the epoch. Raises ValueError."""
    match = _TIME.fullmatch(time)
    if match is None:
        raise ValueError(time)
    whole = datetime.fromisoformat(match[1] + match[3].upper().replace("Z", "+00:00"))
    return int(whole.timestamp()) * 1_000_000_000 + int((match[2] or "").ljust(9, "0"))


class LogFile:
    """A log that is read while it is written to and, maybe, renamed and begun anew."""

    def __init__(self, path: str, offset: int = 0) -> None:
        """Raises NotFound, PermissionDenied."""
        self.path = path
        with mapped(f"read the log {path}"):
            self._file = open(path, "rb")  # noqa: SIM115 (closed by `close`)
        self._file.seek(offset)
        self._rest = b""

    def close(self) -> None:
        self._file.close()

    def entries(self) -> Iterator[Entry]:
        """Those that were written since the last call; a line that is not whole yet waits for the next."""
        while block := self._file.read(_BLOCK):
            *lines, self._rest = (self._rest + block).split(b"\n")
            yield from (parse(line + b"\n") for line in lines)
        if self._renewed():
            yield from self.entries()

    def rest(self) -> Iterator[Entry]:
        """The end of a log that nobody writes to any more, if no line feed ends it."""
        if self._rest:
            yield parse(self._rest)

    def _renewed(self) -> bool:
        """Go on with the file that has the name now, if it is another, or the same one made empty."""
        try:
            found = os.stat(self.path)
        except FileNotFoundError:
            return False
        mine = os.fstat(self._file.fileno())
        if (found.st_dev, found.st_ino) == (mine.st_dev, mine.st_ino):
            if found.st_size < self._file.tell():
                self._file.seek(0)
                return True
            return False
        self._file.close()
        self._file = open(self.path, "rb")  # noqa: SIM115
        return True


def tail_offset(path: str, lines: int) -> int:
    """Where the last `lines` lines of a file begin, read from its end in blocks."""
    with open(path, "rb") as file:
        position = end = file.seek(0, os.SEEK_END)
        wanted = lines + _ends_whole(file, end)
        while position and lines:
            block, position = _block_before(file, position)
            if (found := block.count(b"\n")) >= wanted:
                return position + _after(block, found - wanted + 1)
            wanted -= found
    return 0 if lines else end


def _ends_whole(file: BinaryIO, end: int) -> bool:
    file.seek(max(0, end - 1))
    return file.read(1) == b"\n"


def _block_before(file: BinaryIO, position: int) -> tuple[bytes, int]:
    start = max(0, position - _BLOCK)
    file.seek(start)
    return file.read(position - start), start


def _after(block: bytes, count: int) -> int:
    """The offset after the `count`th line feed."""
    at = 0
    for _ in range(count):
        at = block.index(b"\n", at) + 1
    return at


def remove(path: str) -> None:
    """Remove a log, and its folder when that is empty then."""
    file = Path(path)
    file.unlink(missing_ok=True)
    with suppress(OSError):
        file.parent.rmdir()
