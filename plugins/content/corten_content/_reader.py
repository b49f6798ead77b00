"""Reading a blob by ranges, without loading it."""

import os
from pathlib import Path
from types import TracebackType
from typing import Self

from corten.errors import NotFound, OutOfRange, mapped

from ._files import open_blob, read_at
from ._recent import Recent


class LocalReader:
    """An open blob file; `read_at` may be called from many threads, `close` only once they are done."""

    def __init__(self, path: Path, digest: str, recent: Recent) -> None:
        self._digest = digest
        self._recent = recent
        self._fd = -1
        with mapped(f"content {digest}: cannot open", {FileNotFoundError: NotFound}):
            self._fd = open_blob(path)
            self._size = os.fstat(self._fd).st_size

    def __repr__(self) -> str:
        return f"LocalReader({self._digest}, {self._size} bytes, {'closed' if self._fd < 0 else 'open'})"

    @property
    def size(self) -> int:
        return self._size

    def fileno(self) -> int:
        return self._fd

    def vouched(self) -> bool:
        """Of `Vouching`."""
        return self._fd >= 0 and self._recent.knows(self._digest, os.fstat(self._fd))

    def read_at(self, offset: int, length: int) -> bytes:
        """As the contract says; short reads of the file system are continued."""
        if not 0 <= offset <= self._size:
            raise OutOfRange(f"content {self._digest}: offset {offset} lies outside of its {self._size} bytes")
        wanted = min(length, self._size - offset)
        with mapped(f"content {self._digest}: cannot read {wanted} bytes at {offset}"):
            data = read_at(self._fd, wanted, offset)
            if len(data) == wanted:
                return data
            parts = [data]
            while data and (have := sum(map(len, parts))) < wanted:
                data = read_at(self._fd, wanted - have, offset + have)
                parts.append(data)
            return b"".join(parts)

    def close(self) -> None:
        """Harmless when called twice."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
