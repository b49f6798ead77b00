"""An ingest on disk, in containerd's layout, so that either daemon resumes what the other began.

    ingest/<sha256 of the ref>/
        ref         the ref as the writer chose it, UTF-8
        data        the bytes so far
        startedat   RFC 3339 with nanoseconds
        updatedat   the same, written when a writer is closed; the time of `data` counts if it is later
        total       decimal; only if it is known
        expected    a digest; only if it is known (containerd keeps none)

`ref` is written last and removed first: a directory without one was left by a crash and holds nothing.
"""

import re
import shutil
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from corten import digests
from corten.contracts.content import IngestStatus
from corten.errors import InvalidArgument, NotFound, mapped

from ._files import DIRECTORY_MODE, write_small

T = TypeVar("T")

_TIME = re.compile(r"(.+?)(?:\.(\d{1,9}))?(Z|[+-]\d\d:\d\d)")


def directory_name(ref: str) -> str:
    """The name of a ref's directory; of constant length whatever the ref. Raises InvalidArgument."""
    if not ref:
        raise InvalidArgument("ingest: the ref must not be empty")
    with mapped("ingest: the ref is not valid UTF-8", {UnicodeEncodeError: InvalidArgument}):
        return digests.parse(digests.of(ref.encode()))[1]


def create(path: Path, ref: str, total: int, expected: str) -> IngestStatus:
    """Make the ingest anew; what a crash may have left under `path` is removed first."""
    if path.exists():
        remove(path)
    now = time.time_ns()
    path.mkdir(DIRECTORY_MODE)
    (path / "data").touch(0o600)
    for name in ("startedat", "updatedat"):
        write_small(path / name, format_time(now))
    status = IngestStatus(ref, 0, total, expected, now, now)
    remember(path, status)
    write_small(path / "ref", ref.encode())
    return status


def remember(path: Path, status: IngestStatus) -> None:
    """Keep total and expected digest for whoever resumes."""
    if status.total:
        write_small(path / "total", b"%d" % status.total)
    if status.expected:
        write_small(path / "expected", status.expected.encode())


def touch(path: Path, updated_at: int) -> None:
    """Keep when the ingest was last written to."""
    write_small(path / "updatedat", format_time(updated_at))


def status(path: Path) -> IngestStatus:
    """Raises NotFound if there is no ingest, or only what a crash left of one."""
    with mapped(f"ingest at {path.name}", {FileNotFoundError: NotFound, UnicodeDecodeError: NotFound}):
        data = (path / "data").stat()
        ref = (path / "ref").read_bytes().decode()
        return IngestStatus(
            ref=ref,
            offset=data.st_size,
            total=_read(path / "total", int, 0),
            expected=_read(path / "expected", _digest, ""),
            started_at=_read(path / "startedat", parse_time, data.st_mtime_ns),
            updated_at=max(_read(path / "updatedat", parse_time, 0), data.st_mtime_ns),
        )


def remove(path: Path) -> None:
    """Remove the ingest, its ref first."""
    (path / "ref").unlink(missing_ok=True)
    shutil.rmtree(path)


def format_time(nanoseconds: int) -> bytes:
    """RFC 3339 in UTC with nanoseconds, as Go's time.MarshalText writes it."""
    seconds, rest = divmod(nanoseconds, 10**9)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest:09d}Z".encode()


def parse_time(text: str) -> int:
    """Nanoseconds since the epoch. Raises ValueError."""
    match = _TIME.fullmatch(text)
    if match is None:
        raise ValueError(f"not a time: {text[:64]!r}")
    moment, fraction, zone = match.groups()
    seconds = int(datetime.fromisoformat(moment + zone.replace("Z", "+00:00")).timestamp())
    return seconds * 10**9 + int((fraction or "").ljust(9, "0"))


def _digest(text: str) -> str:
    digests.parse(text)
    return text


def _read(path: Path, parse: Callable[[str], T], default: T) -> T:
    """What a small file says; `default` if it is missing or damaged, for nothing but comfort depends on it."""
    try:
        return parse(path.read_bytes().decode())
    except (FileNotFoundError, ValueError, InvalidArgument):
        return default
