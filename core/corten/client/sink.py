"""The daemon's content store as the registry client writes to it: `corten.registry.sink.BlobSink` over the wire."""

from collections.abc import Mapping
from contextlib import suppress

from corten.errors import NotFound

from .content import BlobWriter, Content


class WireSink:
    """A `BlobSink`; made of the content of a leased client, so that gc leaves alone what is on its way."""

    def __init__(self, content: Content) -> None:
        self._content = content

    async def exists(self, digest: str) -> bool:
        try:
            await self._content.info(digest)
        except NotFound:
            return False
        return True

    async def labels(self, digest: str) -> Mapping[str, str]:
        return (await self._content.info(digest)).labels

    async def read(self, digest: str, limit: int) -> bytes:
        return await self._content.read_all(digest, limit)

    async def writer(self, ref: str, total: int = 0, expected: str = "", media_type: str = "") -> BlobWriter:
        """As the contract says; the API has no place for a media type."""
        return await self._content.open_writer(ref, total=total, expected=expected)

    async def abort(self, ref: str) -> None:
        with suppress(NotFound):
            await self._content.abort(ref)

    async def label(self, digest: str, labels: Mapping[str, str]) -> None:
        await self._content.label(digest, labels)
