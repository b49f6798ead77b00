"""The asynchronous door through which images are read out of a content store."""

import asyncio
from collections.abc import AsyncGenerator, Mapping
from typing import Protocol

from corten.contracts.content import ContentReader, ContentStore
from corten.errors import ResourceExhausted

from .sink import Run

CHUNK = 1 << 20


class BlobSource(Protocol):
    """A content store, as pushing and exporting need it; one namespace's view."""

    async def read(self, digest: str, limit: int) -> bytes:
        """A whole blob of up to `limit` bytes. Raises NotFound, ResourceExhausted for a larger one."""
        ...

    async def labels(self, digest: str) -> Mapping[str, str]:
        """Raises NotFound."""
        ...

    async def part(self, digest: str, offset: int, length: int) -> bytes:
        """Up to `length` bytes at `offset`. Raises NotFound."""
        ...

    def parts(self, digest: str) -> AsyncGenerator[bytes, None]:
        """The whole blob, piece by piece. Raises NotFound."""
        ...


class StoreSource:
    """Out of a content store of the same process; its blocking calls go through `run`."""

    def __init__(self, store: ContentStore, run: Run = asyncio.to_thread) -> None:
        self._store = store
        self._run = run

    async def read(self, digest: str, limit: int) -> bytes:
        data: bytes = await self._run(self._read, digest, 0, limit, True)
        return data

    async def labels(self, digest: str) -> Mapping[str, str]:
        found: Mapping[str, str] = (await self._run(self._store.info, digest)).labels
        return found

    async def part(self, digest: str, offset: int, length: int) -> bytes:
        data: bytes = await self._run(self._read, digest, offset, length, False)
        return data

    async def parts(self, digest: str) -> AsyncGenerator[bytes, None]:
        reader: ContentReader = await self._run(self._store.reader, digest)
        try:
            for offset in range(0, reader.size, CHUNK):
                yield await self._run(reader.read_at, offset, CHUNK)
        finally:
            reader.close()

    def _read(self, digest: str, offset: int, length: int, whole: bool) -> bytes:
        with self._store.reader(digest) as reader:
            if whole and reader.size > length:
                raise ResourceExhausted(
                    f"content {digest}: {reader.size} bytes are more than the {length} allowed here"
                )
            return reader.read_at(offset, length)
