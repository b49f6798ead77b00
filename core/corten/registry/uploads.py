"""One blob on its way into a registry: in chunks where it is large, or at once where a registry takes none.

https://github.com/opencontainers/distribution-spec/blob/main/spec.md#pushing-blobs. An upload in chunks that breaks off
goes on where the registry says it stands. Some registries have no chunks (Google's Artifact Registry), and containerd
never sends any: what one refuses in chunks is sent once more as a whole.
"""

import asyncio
import re
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from io import BytesIO

import aiohttp
from yarl import URL

from corten.contracts.descriptor import Descriptor
from corten.errors import (
    CortenError,
    DataLoss,
    FailedPrecondition,
    NotFound,
    OutOfRange,
    ResourceExhausted,
    Unavailable,
    Unknown,
)
from corten.references import Reference
from corten.values import dataclass

from . import answers
from .client import RegistryClient
from .connections import Request
from .endpoints import Endpoint
from .source import BlobSource

CHUNK = 8 << 20
"""Bytes of one request of an upload in chunks."""
_RANGE = re.compile(r"(?:bytes[=: ])?0-([0-9]{1,18})", re.ASCII)
MAX_CHUNK = 64 << 20
"""Bytes of one that a registry may ask for; each is held in memory."""


@dataclass(frozen=True, slots=True)
class Started:
    """An upload that was begun at `location`; chunks have `chunk` bytes, or 0: none are taken."""

    location: URL
    chunk: int = CHUNK


def started(response: aiohttp.ClientResponse) -> Started:
    """What a registry answers to the wish to upload. Raises FailedPrecondition if it does not say where to."""
    least = response.headers.get("OCI-Chunk-Min-Length", "")
    wanted = max(CHUNK, int(least) if least.isdigit() else 0)
    return Started(location(response), wanted if wanted <= MAX_CHUNK else 0)


def location(response: aiohttp.ClientResponse) -> URL:
    """Where the registry says that the upload goes on."""
    host = answers.authority(response.url)
    if not (given := response.headers.get("Location")):
        raise FailedPrecondition(f"registry {host}: it begins an upload, but does not say where")
    if given.startswith(f"{host}/"):  # its address without a scheme, which containerd takes too
        return response.url.origin().join(URL(f"/{given.partition('/')[2]}", encoded=True))
    return answers.redirected(response.url, response)


class Upload:
    """`begin` begins another one, for what cannot go on; `tell` is told how many bytes are there."""

    def __init__(
        self,
        registry: RegistryClient,
        endpoint: Endpoint,
        reference: Reference,
        source: BlobSource,
        blob: Descriptor,
        begin: Callable[[], Awaitable[Started]],
        tell: Callable[[int], None],
    ) -> None:
        self._registry = registry
        self._endpoint = endpoint
        self._reference = reference
        self._source = source
        self._blob = blob
        self._begin = begin
        self._tell = tell
        self._chunk_size = CHUNK
        self._location = URL()
        self._offset = 0

    async def run(self, upload: Started) -> None:
        """Have the blob there. Raises the errors of `RegistryClient.answer_of`, DataLoss, FailedPrecondition."""
        self._location, self._chunk_size = upload.location, upload.chunk
        if self._blob.size <= CHUNK:
            return await self._in_chunks()
        if not upload.chunk or self._endpoint.base in self._registry.without_chunks:
            return await self._at_once()
        try:
            return await self._in_chunks()
        except (Unknown, NotFound, OutOfRange):
            self._registry.without_chunks.add(self._endpoint.base)
            self._location = (await self._begin()).location
            return await self._at_once()

    async def _in_chunks(self) -> None:
        """The last chunk goes with the request that ends the upload."""
        pauses = self._registry.retry.pauses()
        while True:
            try:
                while self._blob.size - self._offset > self._chunk_size:
                    await self._chunk()
                return await self._end()
            except (Unavailable, ResourceExhausted):
                if (pause := next(pauses, None)) is None:
                    raise
                await asyncio.sleep(pause)
                await self._find_out()

    async def _at_once(self) -> None:
        pauses = self._registry.retry.pauses()
        headers = {"Content-Type": "application/octet-stream", "Content-Length": str(self._blob.size)}
        while True:
            try:
                return await self._put(headers, self._whole)
            except (Unavailable, ResourceExhausted):
                if (pause := next(pauses, None)) is None:
                    raise
                await asyncio.sleep(pause)
                self._location = (await self._begin()).location

    async def _whole(self) -> AsyncGenerator[bytes, None]:
        offset = 0
        async with aclosing(self._source.parts(self._blob.digest)) as parts:
            async for part in parts:
                yield part
                offset += len(part)
                self._tell(offset)

    async def _chunk(self) -> None:
        data = await self._data()
        headers = {
            "Content-Range": f"{self._offset}-{self._offset + len(data) - 1}",
            "Content-Type": "application/octet-stream",
        }
        response = await self._send("PATCH", self._location, headers, lambda: BytesIO(data))
        self._location = location(response)
        self._offset += len(data)
        self._tell(self._offset)

    async def _end(self) -> None:
        data = await self._data()
        headers = {"Content-Type": "application/octet-stream"}
        if self._offset:
            headers["Content-Range"] = f"{self._offset}-{self._offset + len(data) - 1}"
        await self._put(headers, lambda: BytesIO(data))

    async def _put(self, headers: dict[str, str], body: Callable[[], object]) -> None:
        url = self._location.update_query({"digest": self._blob.digest})
        await self._send("PUT", url, headers, body)

    async def _find_out(self) -> None:
        """Where an upload that broke off stands; from the start if the registry does not say."""
        try:
            response = await self._send("GET", self._location, {})
        except CortenError:
            return
        # `0-0` is nothing for most, and so is `0--1`.
        last = _RANGE.fullmatch(response.headers.get("Range", "").strip())
        self._offset = min(int(last[1]) + 1, self._blob.size) if last and int(last[1]) > 0 else 0
        if response.headers.get("Location"):
            self._location = location(response)

    async def _data(self) -> bytes:
        size = min(self._chunk_size, self._blob.size - self._offset)
        data = await self._source.part(self._blob.digest, self._offset, size) if size else b""
        if len(data) != size:
            raise DataLoss(f"content {self._blob.digest}: the content store has not the {self._blob.size} bytes of it")
        return data

    async def _send(
        self, method: str, url: URL, headers: dict[str, str], body: Callable[[], object] | None = None
    ) -> aiohttp.ClientResponse:
        request = Request(method, self._reference, url=url, headers=headers, body=body, actions="pull,push")
        response = await self._registry.answer_of(self._endpoint, request, patient=False)
        response.release()
        return response
