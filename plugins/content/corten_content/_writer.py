"""Writing an ingest and turning it into a blob."""

import os
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Self

from corten import digests
from corten.contracts.content import IngestStatus
from corten.errors import FailedPrecondition, Unimplemented, mapped

from . import _ingest
from ._behind import Behind
from ._files import open_data, read_at, write_at
from ._holds import shown

CHUNK = 1 << 20
BLOB_MODE = 0o444

Publish = Callable[[Path, str], None]
"""`(path, digest)`: make the ingest at `path`, whose data are on disk, a blob."""


class LocalWriter:
    """The one writer of an ingest, opened by `LocalContent`; calls from several threads take turns.

    Data are hashed as they come, large pieces by `hashing`, a piece behind. What a full disk or a broken connection
    leaves stays, for the next writer to resume.
    """

    def __init__(
        self, path: Path, status: IngestStatus, publish: Publish, free: Callable[[], None], hashing: Executor
    ) -> None:
        self._path = path
        self._hashing = hashing
        self._status = status
        self._publish = publish
        self._free = free
        self._lock = threading.Lock()
        self._algorithm = digests.parse(status.expected)[0] if status.expected else "sha256"
        with mapped(f"ingest {shown(status.ref)}: cannot open its data"):
            self._fd = open_data(path / "data")
        try:
            self._made = self._of_file(self._algorithm)
        except BaseException:
            os.close(self._fd)
            raise

    def __repr__(self) -> str:
        state = "closed" if self._fd < 0 else "open"
        return f"LocalWriter({shown(self._status.ref)}, offset {self._status.offset}, {state})"

    def write(self, data: bytes) -> int:
        """As the contract says. ResourceExhausted on a full disk; what fitted is kept, and counts."""
        with self._lock:
            fd = self._open_fd("write")
            start = self._status.offset
            try:
                self._append(fd, memoryview(data))
            finally:
                kept = self._status.offset - start
                self._made.add(data if kept == len(data) else memoryview(data)[:kept])
            return len(data)

    def fileno(self) -> int:
        return self._fd

    def truncate(self, size: int) -> None:
        with self._lock:
            fd = self._open_fd("truncate")
            if size != 0:
                raise Unimplemented(f"ingest {shown(self._status.ref)}: can be truncated to 0 only, not to {size}")
            with mapped(f"ingest {shown(self._status.ref)}: cannot truncate"):
                os.ftruncate(fd, 0)
            self._made = Behind(self._algorithm, self._hashing)
            self._advance(0)

    def digest(self) -> str:
        with self._lock:
            return self._made.digest()

    def status(self) -> IngestStatus:
        return self._status

    def commit(self, size: int = 0, expected: str = "", labels: Mapping[str, str] | None = None) -> str:
        """As the contract says; `labels` are not for this store. The ref is free afterwards, whatever happened."""
        algorithm = digests.parse(expected)[0] if expected else self._algorithm
        with self._lock:
            fd = self._open_fd("commit")
            try:
                return self._commit(fd, size, expected, algorithm)
            finally:
                self._release()

    def close(self) -> None:
        with self._lock:
            if self._fd >= 0:
                self._release()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _commit(self, fd: int, size: int, expected: str, algorithm: str) -> str:
        ref, offset = shown(self._status.ref), self._status.offset
        if size and size != offset:
            raise FailedPrecondition(f"ingest {ref}: cannot commit: it has {offset} bytes, not {size}")
        made = self._made if algorithm == self._algorithm else self._of_file(algorithm)
        digest = made.digest()
        if expected and expected != digest:
            raise FailedPrecondition(f"ingest {ref}: cannot commit: its digest is {digest}, not {expected}")
        with mapped(f"ingest {ref}: cannot commit as {digest}"):
            os.fsync(fd)
            self._fd = -1
            os.close(fd)
            self._publish(self._path, digest)
        return digest

    def _of_file(self, algorithm: str) -> Behind:
        made = Behind(algorithm, self._hashing)
        at = 0
        with mapped(f"ingest {shown(self._status.ref)}: cannot read back its data"):
            while chunk := read_at(self._fd, CHUNK, at):
                made.add(chunk)
                at += len(chunk)
        self._status = replace(self._status, offset=at)
        return made

    def _append(self, fd: int, rest: memoryview) -> None:
        with mapped(f"ingest {shown(self._status.ref)}: cannot write at {self._status.offset}"):
            while rest:
                written = write_at(fd, rest, self._status.offset)
                self._advance(self._status.offset + written)
                rest = rest[written:]

    def _advance(self, offset: int) -> None:
        self._status = replace(self._status, offset=offset, updated_at=time.time_ns())

    def _open_fd(self, action: str) -> int:
        if self._fd < 0:
            raise FailedPrecondition(
                f"ingest {shown(self._status.ref)}: cannot {action}: the writer is closed (open it again)"
            )
        return self._fd

    def _release(self) -> None:
        fd, self._fd = self._fd, -1
        try:
            if fd >= 0:
                os.close(fd)
            if self._path.exists():
                _ingest.touch(self._path, self._status.updated_at)
        except OSError:
            pass  # a full disk, say; the time of the data file still tells when it was last written
        finally:
            self._free()
