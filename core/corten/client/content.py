"""Content over the wire: blobs read in pieces, and written through one stream for each ref."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, Self

from corten.api.services.content.v1 import content_pb2 as pb
from corten.contracts.content import ContentInfo, IngestStatus
from corten.contracts.descriptor import Descriptor
from corten.errors import AlreadyExists, CortenError, DataLoss, ResourceExhausted, Unavailable
from corten.messages.content import info as content_info
from corten.messages.content import status as ingest_status
from corten.messages.values import mask

from .calls import Calls, methods

_RPC = methods(pb, "Content")
CHUNK = 1 << 20
"""Bytes of one write message."""
CLOSING = 5.0
"""Seconds that the daemon may take to free a ref."""


class Content:
    """The blobs of a namespace; errors as `corten.contracts.content.ContentStore`."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    async def info(self, digest: str) -> ContentInfo:
        return content_info((await self._calls.unary(_RPC["Info"], pb.InfoRequest(digest=digest))).info)

    async def update(self, info: ContentInfo, fieldpaths: Sequence[str] = ()) -> ContentInfo:
        message = pb.Info(digest=info.digest, labels=dict(info.labels))
        request = pb.UpdateRequest(info=message, update_mask=mask(fieldpaths))
        return content_info((await self._calls.unary(_RPC["Update"], request)).info)

    async def walk(self, filters: Sequence[str] = ()) -> AsyncIterator[ContentInfo]:
        async for page in self.pages(filters):
            for info in page:
                yield info

    async def pages(self, filters: Sequence[str] = ()) -> AsyncGenerator[list[ContentInfo], None]:
        """As `walk`, many at once."""
        async for answer in self._calls.server_stream(_RPC["List"], pb.ListContentRequest(filters=filters)):
            yield [content_info(message) for message in answer.info]

    async def delete(self, digest: str) -> None:
        await self._calls.unary(_RPC["Delete"], pb.DeleteContentRequest(digest=digest))

    async def read(self, digest: str, offset: int = 0, size: int = 0) -> AsyncIterator[bytes]:
        """The bytes from `offset` on, in pieces; `size` 0 means to the end."""
        request = pb.ReadContentRequest(digest=digest, offset=offset, size=size)
        async for answer in self._calls.server_stream(_RPC["Read"], request):
            yield answer.data

    async def read_all(self, digest: str, limit: int) -> bytes:
        """A whole blob of at most `limit` bytes. Raises ResourceExhausted for a larger one."""
        data = bytearray()
        async for piece in self.read(digest):
            data += piece
            if len(data) > limit:
                raise ResourceExhausted(f"content {digest}: larger than the {limit} bytes that are read at once")
        return bytes(data)

    async def status(self, ref: str) -> IngestStatus:
        return ingest_status((await self._calls.unary(_RPC["Status"], pb.StatusRequest(ref=ref))).status)

    async def statuses(self, filters: Sequence[str] = ()) -> list[IngestStatus]:
        answer = await self._calls.unary(_RPC["ListStatuses"], pb.ListStatusesRequest(filters=filters))
        return [ingest_status(message) for message in answer.statuses]

    async def abort(self, ref: str) -> None:
        await self._calls.unary(_RPC["Abort"], pb.AbortRequest(ref=ref))

    @asynccontextmanager
    async def writer(self, ref: str, *, total: int = 0, expected: str = "") -> AsyncIterator["BlobWriter"]:
        """Open or resume the ingest of `ref`. Raises as `ContentStore.writer`."""
        async with await self.open_writer(ref, total=total, expected=expected) as writer:
            yield writer

    async def open_writer(self, ref: str, *, total: int = 0, expected: str = "") -> "BlobWriter":
        """As `writer`, for a caller that closes it."""
        writer = BlobWriter(self._calls, ref, total, expected)
        try:
            await writer.open()
        except BaseException:
            await writer.close()
            raise
        return writer

    async def put(self, ref: str, data: bytes, target: Descriptor, labels: Mapping[str, str] | None = None) -> None:
        """Store a small blob whole; one that is there already only gets its labels."""
        try:
            async with self.writer(ref, total=target.size, expected=target.digest) as writer:
                await writer.write(data[writer.offset :])
                await writer.commit(target.size, target.digest, labels)
        except AlreadyExists:
            await self.label(target.digest, labels or {})

    async def label(self, digest: str, labels: Mapping[str, str]) -> None:
        """Set these labels and leave the others."""
        if labels:
            await self.update(ContentInfo(digest, labels=labels), [f"labels.{key}" for key in labels])


class BlobWriter:
    """The one writer of a ref: every message waits for its answer, so that the offset is always the server's."""

    def __init__(self, calls: Calls, ref: str, total: int, expected: str) -> None:
        self._requests: asyncio.Queue[pb.WriteContentRequest | None] = asyncio.Queue()
        self._answers: AsyncIterator[Any] = calls.bidi(_RPC["Write"], self._drawn())
        self.ref, self._total, self._expected = ref, total, expected
        self.offset = 0
        self.answer = pb.WriteContentResponse()
        """The last one."""

    def __repr__(self) -> str:
        return f"BlobWriter({self.ref!r}, offset={self.offset})"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await asyncio.shield(self.close())

    async def open(self) -> None:
        """Ask for the ref; `offset` is then where to go on."""
        request = pb.WriteContentRequest(action=pb.STAT, ref=self.ref, total=self._total, expected=self._expected)
        self.offset = (await self._ask(request)).offset

    async def write(self, data: bytes) -> None:
        """Append; any length."""
        view = memoryview(data)
        for start in range(0, len(view), CHUNK):
            piece = bytes(view[start : start + CHUNK])
            request = pb.WriteContentRequest(action=pb.WRITE, ref=self.ref, offset=self.offset, data=piece)
            answer = await self._ask(request)
            if answer.offset != self.offset + len(piece):
                raise DataLoss(f"ingest {self.ref!r}: wrote {len(piece)} bytes at {self.offset}, is at {answer.offset}")
            self.offset = answer.offset

    def fileno(self) -> int:
        """The file is the daemon's."""
        return -1

    async def truncate(self) -> None:
        """Begin anew at offset 0."""
        answer = await self._ask(pb.WriteContentRequest(action=pb.WRITE, ref=self.ref, offset=0, data=b""))
        self.offset = answer.offset

    async def commit(self, size: int = 0, digest: str = "", labels: Mapping[str, str] | None = None) -> str:
        """Make the blob durable and visible; returns its digest. Raises as `ContentWriter.commit`."""
        request = pb.WriteContentRequest(
            action=pb.COMMIT,
            ref=self.ref,
            total=size,
            expected=digest,
            offset=self.offset,
            labels=dict(labels or {}),
        )
        return str((await self._ask(request)).digest)

    async def close(self) -> None:
        """Free the ref, which it is when the daemon has ended the stream; the ingest stays if it was not committed."""
        self._requests.put_nowait(None)
        with suppress(CortenError, TimeoutError, StopAsyncIteration):
            async with asyncio.timeout(CLOSING):
                await anext(self._answers)
        await self._answers.aclose()  # type: ignore[attr-defined]

    async def _ask(self, request: pb.WriteContentRequest) -> Any:
        self._requests.put_nowait(request)
        try:
            self.answer = await anext(self._answers)
        except StopAsyncIteration:
            raise Unavailable(f"ingest {self.ref!r}: the daemon ended the stream") from None
        return self.answer

    async def _drawn(self) -> AsyncIterator[pb.WriteContentRequest]:
        while (request := await self._requests.get()) is not None:
            yield request
