"""The asynchronous door through which images are written to a content store."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, Protocol, Self

from corten.contracts.content import ContentInfo, ContentStore, ContentWriter, Growing
from corten.contracts.descriptor import Descriptor
from corten.errors import AlreadyExists, NotFound, ResourceExhausted
from corten.oci_image import gc_labels


class BlobWriter(Protocol):
    """The one writer of an ingest; leaving its context closes it and keeps the ingest for resumption."""

    @property
    def offset(self) -> int:
        """How many bytes are there; more than 0 at first when an ingest is resumed."""

    def fileno(self) -> int:
        """A descriptor of the file to which the bytes are appended, or -1 where there is none."""

    async def write(self, data: bytes) -> None: ...
    async def truncate(self) -> None:
        """Drop all bytes."""

    async def commit(self, size: int, digest: str, labels: Mapping[str, str]) -> str:
        """`size` 0 and `digest` empty check nothing; returns the digest.

        Raises FailedPrecondition if size or digest differ, AlreadyExists if the blob came from elsewhere meanwhile.
        """
        ...

    async def close(self) -> None: ...
    async def __aenter__(self) -> Self: ...
    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class BlobSink(Protocol):
    """A content store, as pulling and importing need it; one namespace's view."""

    async def exists(self, digest: str) -> bool: ...
    async def read(self, digest: str, limit: int) -> bytes:
        """A whole blob of up to `limit` bytes. Raises NotFound, ResourceExhausted for a larger one."""
        ...

    async def writer(self, ref: str, total: int = 0, expected: str = "", media_type: str = "") -> BlobWriter:
        """Raises AlreadyExists when `expected` is there, Unavailable while the ref is being written."""
        ...

    async def abort(self, ref: str) -> None:
        """Drop an ingest; harmless if there is none."""

    async def labels(self, digest: str) -> Mapping[str, str]:
        """The labels of a blob in this namespace. Raises NotFound."""
        ...

    async def label(self, digest: str, labels: Mapping[str, str]) -> None:
        """Add or replace these labels of a blob. Raises NotFound."""


async def write_whole(writer: BlobWriter, data: bytes) -> None:
    """Have exactly `data` in the ingest, unless it has as many bytes: a store may know the blob already."""
    if writer.offset == len(data):
        return
    if writer.offset:
        await writer.truncate()
    await writer.write(data)


async def store_document(sink: BlobSink, target: Descriptor, data: bytes, children: Sequence[Descriptor]) -> None:
    """Have a document that was made or taken in here in the sink, with the labels that keep its children."""
    labels = gc_labels.of_children(children)
    try:
        ref = f"import-{target.digest}"
        async with await sink.writer(ref, target.size, target.digest, target.media_type) as writer:
            await write_whole(writer, data)
            await writer.commit(target.size, target.digest, labels)
    except AlreadyExists:
        await sink.label(target.digest, labels)


Run = Callable[..., Awaitable[Any]]
"""`await run(function, *args)`: call a blocking function elsewhere, in a pool of the kernel's for example."""


class StoreSink:
    """A sink into a content store of the same process; its blocking calls go through `run`."""

    def __init__(self, store: ContentStore, run: Run = asyncio.to_thread) -> None:
        self._store = store
        self._run = run

    async def exists(self, digest: str) -> bool:
        try:
            await self._run(self._store.info, digest)
        except NotFound:
            return False
        return True

    async def read(self, digest: str, limit: int) -> bytes:
        data: bytes = await self._run(self._read, digest, limit)
        return data

    async def writer(self, ref: str, total: int = 0, expected: str = "", media_type: str = "") -> BlobWriter:
        def opened() -> ContentWriter:
            return self._store.writer(ref, total=total, expected=expected, media_type=media_type)

        opening: asyncio.Future[ContentWriter] = asyncio.ensure_future(self._run(opened))
        try:
            return _StoreWriter(await asyncio.shield(opening), self._run)
        except asyncio.CancelledError:
            # The thread goes on and takes the ref, which nobody would free.
            await asyncio.wait([opening])
            if not opening.exception():
                await self._run(opening.result().close)
            raise

    async def abort(self, ref: str) -> None:
        try:
            await self._run(self._store.abort, ref)
        except NotFound:
            pass

    async def labels(self, digest: str) -> Mapping[str, str]:
        info: ContentInfo = await self._run(self._store.info, digest)
        return info.labels

    async def label(self, digest: str, labels: Mapping[str, str]) -> None:
        paths = [f"labels.{key}" for key in labels]
        await self._run(self._store.update, ContentInfo(digest, labels=labels), paths)

    def _read(self, digest: str, limit: int) -> bytes:
        with self._store.reader(digest) as reader:
            if reader.size > limit:
                raise ResourceExhausted(f"content {digest}: {reader.size} bytes are more than the {limit} allowed here")
            return reader.read_at(0, reader.size)


class _StoreWriter:
    def __init__(self, writer: ContentWriter, run: Run) -> None:
        self._writer = writer
        self._run = run

    @property
    def offset(self) -> int:
        return self._writer.status().offset

    def fileno(self) -> int:
        return self._writer.fileno() if isinstance(self._writer, Growing) else -1

    async def write(self, data: bytes) -> None:
        await self._run(self._writer.write, data)

    async def truncate(self) -> None:
        await self._run(self._writer.truncate, 0)

    async def commit(self, size: int, digest: str, labels: Mapping[str, str]) -> str:
        committed: str = await self._run(self._writer.commit, size, digest, labels)
        return committed

    async def close(self) -> None:
        await self._run(self._writer.close)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # Shielded: a cancelled pull must free its refs, or the next one finds them held.
        await asyncio.shield(self.close())
