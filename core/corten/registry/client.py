"""A client of registries that speak the OCI distribution specification, for reading.

https://github.com/opencontainers/distribution-spec/blob/main/spec.md. Requests that fail for a passing reason are
tried again; redirects are followed, without credentials when they lead to another host.
"""

import asyncio
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Self

import aiohttp
from yarl import URL

from corten import __version__, digests
from corten.contracts.descriptor import Descriptor
from corten.errors import CortenError, DataLoss, FailedPrecondition, Unavailable, Unknown
from corten.oci_image import documents, media_types
from corten.references import Reference

from . import answers
from .authority import Authority
from .credentials import Lookup, anonymous
from .hosts import base_url, proxy
from .retry import Retry

CONNECT_TIMEOUT = 30.0
STALL_TIMEOUT = 60.0
"""Seconds without a byte after which a connection is given up."""
MAX_REDIRECTS = 10
_PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})
_REDIRECTS = frozenset({301, 302, 303, 307, 308})


class RegistryClient:
    """Connections to registries; one event loop, closed by `async with` or `close`."""

    def __init__(
        self,
        *,
        credentials: Lookup = anonymous,
        plain_http: bool | None = None,
        tls: ssl.SSLContext | None = None,
        retry: Retry | None = None,
    ) -> None:
        """`plain_http` None: http for this machine only; `tls` replaces the system's certificate authorities."""
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT, sock_read=STALL_TIMEOUT)
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=tls or True, limit_per_host=16),
            timeout=timeout,
            auto_decompress=False,  # the digest is of what is sent
            read_bufsize=answers.CHUNK,
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"User-Agent": f"corten/{__version__}", "Accept-Encoding": "identity"},
        )
        self._authority = Authority(self._session, credentials)
        self._plain_http = plain_http
        self.retry = retry or Retry()

    async def close(self) -> None:
        """Close all connections."""
        await self._session.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def resolve(self, reference: Reference) -> Descriptor:
        """What the reference points to now.

        Raises NotFound, Unauthenticated, PermissionDenied, Unavailable, DataLoss for an answer with another digest.
        """
        try:
            async with self._request("HEAD", reference, f"manifests/{reference.object}") as response:
                found = answers.described(response, reference)
        except Unknown:  # a registry without HEAD
            found = None
        if found is None:
            found = await self._resolve_by_get(reference)
        if reference.digest and found.digest != reference.digest:
            raise DataLoss(f"image {reference}: the registry answers with another digest, {found.digest}")
        return found

    async def manifest(self, reference: Reference, descriptor: Descriptor) -> bytes:
        """An index or manifest, checked against its descriptor.

        Raises as `resolve`, ResourceExhausted for one that is too large.
        """
        what = f"{media_types.kind(descriptor.media_type)} {descriptor.digest} of {reference.name}"
        async with self._request("GET", reference, f"manifests/{descriptor.digest}") as response:
            data = await answers.read(response, documents.MAX_SIZE, what)
        actual = digests.of(data, digests.parse(descriptor.digest)[0])
        if actual != descriptor.digest:
            raise DataLoss(f"{what}: the registry sent something with digest {actual}")
        if descriptor.size != len(data):
            raise DataLoss(f"{what}: it has {len(data)} bytes, not {descriptor.size}")
        return data

    async def fetch(self, reference: Reference, descriptor: Descriptor, offset: int = 0) -> AsyncGenerator[bytes, None]:
        """The bytes of a blob from `offset` on, unchecked, in parts of about `answers.CHUNK`.

        Raises Unavailable when the connection breaks (go on at the new offset), DataLoss when the registry announces
        another length, and the errors of `resolve`.
        """
        headers = {"Range": f"bytes={offset}-"} if offset else {}
        async with self._request("GET", reference, f"blobs/{descriptor.digest}", headers) as response:
            skip = answers.skipped(response, offset)
            answers.check_length(response, descriptor, offset - skip)
            async for chunk in answers.chunks(response, f"content {descriptor.digest}"):
                yield chunk[skip:] if skip else chunk
                skip = max(0, skip - len(chunk))

    async def _resolve_by_get(self, reference: Reference) -> Descriptor:
        async with self._request("GET", reference, f"manifests/{reference.object}") as response:
            data = await answers.read(response, documents.MAX_SIZE, f"image {reference}")
            algorithm = digests.parse(reference.digest)[0] if reference.digest else "sha256"
            return Descriptor(answers.media_type(response), digests.of(data, algorithm), len(data))

    @asynccontextmanager
    async def _request(
        self, method: str, reference: Reference, path: str, headers: Mapping[str, str] | None = None
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """An answer of 2xx; anything else is raised, after the retries that make sense."""
        what = f"image {reference}" if path.startswith("manifests/") else f"{path.replace('blobs/', 'content ')}"
        accept = {"Accept": media_types.ACCEPT} if path.startswith("manifests/") else {}
        response = await self._answer(method, reference, path, {**accept, **(headers or {})}, what)
        try:
            yield response
        finally:
            response.close()

    async def _answer(
        self, method: str, reference: Reference, path: str, headers: Mapping[str, str], what: str
    ) -> aiohttp.ClientResponse:
        pauses = self.retry.pauses()
        error: CortenError | None
        while True:
            asked = 0.0
            try:
                response = await self._once(method, reference, path, headers)
                error = await answers.error_of(response, what) if response.status >= 300 else None
                if error is None:
                    return response
                if response.status not in _PASSING:
                    raise error
                asked = answers.retry_after(response)
            except (aiohttp.ClientError, TimeoutError, OSError) as broken:
                why = broken or type(broken).__name__
                error = Unavailable(f"{what}: cannot reach registry {reference.host}: {why}")
            except Unavailable as broken:  # the token server
                error = broken
            pause = next(pauses, None)
            if pause is None:
                raise error
            await asyncio.sleep(max(pause, asked))

    async def _once(
        self, method: str, reference: Reference, path: str, headers: Mapping[str, str]
    ) -> aiohttp.ClientResponse:
        """One request with its redirects and at most one new login."""
        base = base_url(reference.host, self._plain_http)
        scope = f"repository:{reference.path}:pull"
        url = base.joinpath(*reference.path.split("/"), *path.split("/"))
        for _ in range(MAX_REDIRECTS):
            ours = url.origin() == base.origin()
            sent = {**headers, **(self._authority.header(reference.host, scope) if ours else {})}
            response = await self._session.request(method, url, headers=sent, allow_redirects=False, proxy=proxy(url))
            if response.status in _REDIRECTS:
                url = answers.redirected(url, response)
            elif response.status != 401 or not ours or not await self._logged_in(reference, scope, base, response):
                return response
            response.release()
        raise FailedPrecondition(f"registry {reference.host}: more than {MAX_REDIRECTS} redirects for {path}")

    async def _logged_in(self, reference: Reference, scope: str, base: URL, response: aiohttp.ClientResponse) -> bool:
        header = ", ".join(response.headers.getall("WWW-Authenticate", []))
        return await self._authority.answer(reference.host, scope, base, header)
