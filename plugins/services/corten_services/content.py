"""The service `Content`: blobs and ingests of the caller's namespace."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import closing

from corten import heap
from corten.api.services.content.v1 import content_pb2 as pb
from corten.contracts.content import ContentStore
from corten.contracts.metadata import Metadata
from corten.errors import InvalidArgument, OutOfRange, Unavailable
from corten.messages.content import checked, info, info_message, status_message
from corten.messages.values import present, sought
from corten.pools import Pools
from corten.wire.service import CallContext, cancellable
from google.protobuf.empty_pb2 import Empty

from .held import Held, held
from .paging import pages
from .small_blobs import SMALL, SmallBlobs
from .writing import WriteSession, opener

CHUNK = 1 << 20
"""Bytes in one message of a read."""
LINGER = 1.0
"""Seconds for which an ingest that is to be aborted may still have its writer."""
PAUSE = 0.02
"""Seconds between two looks at that."""


class ContentService:
    """A thin layer over the metadata store's view of the content store."""

    def __init__(self, metadata: Metadata, pools: Pools) -> None:
        self._metadata = metadata
        self._pools = pools
        self._kept = SmallBlobs()

    @cancellable
    async def info(self, request: pb.InfoRequest, call: CallContext) -> pb.InfoResponse:
        store, digest = self._store(call), checked(request.digest)
        return pb.InfoResponse(info=info_message(store.info(digest)))

    async def update(self, request: pb.UpdateRequest, call: CallContext) -> pb.UpdateResponse:
        present(request, "info")
        store, wanted, mask = self._store(call), info(request.info), list(request.update_mask.paths)
        return pb.UpdateResponse(info=info_message(await self._pools.run("content", store.update, wanted, mask)))

    async def list(self, request: pb.ListContentRequest, call: CallContext) -> AsyncIterator[pb.ListContentResponse]:
        store, filters = self._store(call), list(request.filters)
        async for found in self._pools.iterate("content", lambda: store.walk(filters)):
            for page in pages(info_message(each) for each in found):
                yield pb.ListContentResponse(info=page)

    async def delete(self, request: pb.DeleteContentRequest, call: CallContext) -> Empty:
        await self._pools.run("content", self._store(call).delete, checked(request.digest))
        return Empty()

    async def read(self, request: pb.ReadContentRequest, call: CallContext) -> AsyncIterator[pb.ReadContentResponse]:
        store, digest = self._store(call), checked(request.digest)
        # Who asks for all without saying how much, as `corten image verify` does, is to know what is on the disk.
        small = self._kept_part(store, digest, request) if request.size or request.offset else None
        if small is None:
            small = await self._pools.run("content", self._read_small, store, digest, request)
        if small is not None:
            if small.data:
                yield small
            return
        async with held(self._pools, "content", lambda: store.reader(digest)) as reader:
            start, end = span(request, reader.resource.size)
            for offset in range(start, end, CHUNK):
                data = await reader.run(reader.resource.read_at, offset, min(CHUNK, end - offset))
                yield pb.ReadContentResponse(offset=offset, data=data)

    @cancellable
    async def status(self, request: pb.StatusRequest, call: CallContext) -> pb.StatusResponse:
        store, ref = self._store(call), sought(request.ref, "ref")
        return pb.StatusResponse(status=status_message(await self._pools.run("content", store.status, ref)))

    @cancellable
    async def list_statuses(self, request: pb.ListStatusesRequest, call: CallContext) -> pb.ListStatusesResponse:
        store, filters = self._store(call), list(request.filters)
        found = await self._pools.run("content", store.statuses, filters)
        return pb.ListStatusesResponse(statuses=[status_message(each) for each in found])

    async def write(
        self, requests: AsyncIterator[pb.WriteContentRequest], call: CallContext
    ) -> AsyncIterator[pb.WriteContentResponse]:
        """A client that goes leaves its ingest, which can be resumed; the ref is free once the stream has ended."""
        first = await anext(requests, None)
        if first is None:
            raise InvalidArgument("content write: the client sent no message; the first one must have a ref")
        opening = opener(self._store(call), first)
        with heap.busy(first.total):
            async with held(self._pools, "content", opening) as session:
                async for answer in written(session, first, requests):
                    yield answer

    async def abort(self, request: pb.AbortRequest, call: CallContext) -> Empty:
        """The end of a writer's stream may come after this, over the same connection: that is waited for."""
        store, ref = self._store(call), sought(request.ref, "ref")
        end = time.monotonic() + LINGER
        while True:
            try:
                await self._pools.run("content", store.abort, ref)
                return Empty()
            except Unavailable:
                if time.monotonic() > end:
                    raise
            await asyncio.sleep(PAUSE)

    def _store(self, call: CallContext) -> ContentStore:
        return self._metadata.content(call.scope())

    def _kept_part(
        self, store: ContentStore, digest: str, request: pb.ReadContentRequest
    ) -> pb.ReadContentResponse | None:
        """What the request asks for, if the blob is in memory. Raises NotFound if the namespace does not have it."""
        blob = self._kept.get(digest)
        if blob is None:
            return None
        store.info(digest)
        return part(request, blob)

    def _read_small(
        self, store: ContentStore, digest: str, request: pb.ReadContentRequest
    ) -> pb.ReadContentResponse | None:
        """What the request asks for, if one message holds it: opened, read and closed in one step of a pool."""
        with closing(store.reader(digest)) as reader:
            if reader.size <= SMALL:
                blob = reader.read_at(0, reader.size)
                self._kept.keep(digest, blob)
                return part(request, blob)
            start, end = span(request, reader.size)
            if end - start > CHUNK:
                return None
            return pb.ReadContentResponse(offset=start, data=reader.read_at(start, end - start))


async def written(
    session: Held[WriteSession], first: pb.WriteContentRequest, later: AsyncIterator[pb.WriteContentRequest]
) -> AsyncIterator[pb.WriteContentResponse]:
    """The answers to the requests of one write: those in the midst of a large blob while they are being done."""
    request: pb.WriteContentRequest | None = first
    under_way: asyncio.Task[pb.WriteContentResponse] | None = None
    try:
        while request is not None:
            if end := session.resource.midway(request):
                under_way = asyncio.create_task(session.run(session.resource.answer, request))
                yield pb.WriteContentResponse(action=pb.WRITE, offset=end)
            else:
                yield await session.run(session.resource.answer, request)
            request = None if request.action == pb.COMMIT else await anext(later, None)
            if under_way is not None:
                await under_way
                under_way = None
    finally:
        if under_way is not None:  # the client has gone: what it was told is there shall be there
            await asyncio.wait([under_way])
            _ = under_way.exception()


def part(request: pb.ReadContentRequest, blob: bytes) -> pb.ReadContentResponse:
    """What the request asks for of a blob that is there as a whole. Raises OutOfRange."""
    start, end = span(request, len(blob))
    return pb.ReadContentResponse(offset=start, data=blob[start:end])


def span(request: pb.ReadContentRequest, size: int) -> tuple[int, int]:
    """From where to where to read a blob of `size` bytes; no size in the request, or too large a one, means the end.

    Raises OutOfRange for an offset past the end.
    """
    start = max(request.offset, 0)
    if start > size:
        raise OutOfRange(f"content {request.digest}: cannot read at offset {start}: it has {size} bytes")
    return start, min(size, start + request.size) if request.size > 0 else size
