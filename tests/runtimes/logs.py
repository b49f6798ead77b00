"""Reading logs of the kubelet's format strictly."""

import re
from datetime import datetime
from typing import NamedTuple

_LINE = re.compile(rb"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z) (stdout|stderr) ([PF]) (.*)", re.DOTALL)


class Line(NamedTuple):
    """One line of a log."""

    time: datetime
    stream: str
    tag: str
    words: bytes


def parsed(log: bytes) -> list[Line]:
    """All lines; fails for one that is not of the format."""
    assert not log or log.endswith(b"\n"), log[-200:]
    return [_line(line) for line in log.split(b"\n")[:-1]]


def content(log: bytes, stream: str) -> bytes:
    """The output of one stream again."""
    lines = [line for line in parsed(log) if line.stream == stream]
    return b"".join(line.words + (b"\n" if line.tag == "F" else b"") for line in lines)


def _line(line: bytes) -> Line:
    match = _LINE.fullmatch(line)
    assert match, line
    time = datetime.fromisoformat(match[1].decode()[:26] + "+00:00")
    return Line(time, match[2].decode(), match[3].decode(), match[4])
