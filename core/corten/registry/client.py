"""A client of registries that speak the OCI distribution specification, for reading.

https://github.com/opencontainers/distribution-spec/blob/main/spec.md. Requests that fail for a passing reason are
tried again; redirects are followed, without credentials when they lead to another host.
"""

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Self

import aiohttp
from yarl import URL

from corten import __version__, digests
from corten.contracts.descriptor import Descriptor
from corten.errors import (
    CortenError,
    DataLoss,
    InvalidArgument,
    NotFound,
    OutOfRange,
    PermissionDenied,
    ResourceExhausted,
    Unauthenticated,
    Unavailable,
    Unknown,
)
from corten.oci_image import documents, media_types
from corten.references import Reference

from .authority import Authority
from .credentials import Lookup, anonymous
from .hosts import base_url, proxy
from .retry import Retry

CHUNK = 1 << 20
"""Bytes in which blobs are handed out; the last part is shorter."""
CONNECT_TIMEOUT = 30.0
STALL_TIMEOUT = 60.0
"""Seconds without a byte after which a connection is given up."""
MAX_REDIRECTS = 10
_MAX_ERROR = 8192
_PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_ERRORS: Mapping[int, tuple[type[CortenError], str]] = {
    401: (Unauthenticated, "it wants a login, or the image does not exist"),
    403: (PermissionDenied, "it denies access"),
    404: (NotFound, "not found there"),
    416: (OutOfRange, "it has no such range"),
    429: (ResourceExhausted, "it limits the rate of requests (try later, or log in)"),
}


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
            read_bufsize=CHUNK,
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
                found = _descriptor(response, reference)
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
            data = await _read(response, documents.MAX_SIZE, what)
        actual = digests.of(data, digests.parse(descriptor.digest)[0])
        if actual != descriptor.digest:
            raise DataLoss(f"{what}: the registry sent something with digest {actual}")
        if descriptor.size != len(data):
            raise DataLoss(f"{what}: it has {len(data)} bytes, not {descriptor.size}")
        return data

    async def fetch(self, reference: Reference, descriptor: Descriptor, offset: int = 0) -> AsyncIterator[bytes]:
        """The bytes of a blob from `offset` on, unchecked, in parts of about `CHUNK`.

        Raises Unavailable when the connection breaks (go on at the new offset), DataLoss when the registry announces
        another length, and the errors of `resolve`.
        """
        headers = {"Range": f"bytes={offset}-"} if offset else {}
        async with self._request("GET", reference, f"blobs/{descriptor.digest}", headers) as response:
            skip = _skipped(response, offset)
            _check_length(response, descriptor, offset - skip)
            async for chunk in _chunks(response, f"content {descriptor.digest}"):
                yield chunk[skip:] if skip else chunk
                skip = max(0, skip - len(chunk))

    async def _resolve_by_get(self, reference: Reference) -> Descriptor:
        async with self._request("GET", reference, f"manifests/{reference.object}") as response:
            data = await _read(response, documents.MAX_SIZE, f"image {reference}")
            algorithm = digests.parse(reference.digest)[0] if reference.digest else "sha256"
            return Descriptor(_media_type(response), digests.of(data, algorithm), len(data))

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
        while True:
            try:
                response = await self._once(method, reference, path, headers)
                error = await _error(response, what) if response.status >= 300 else None
                if error is None:
                    return response
                if response.status not in _PASSING:
                    raise error
                asked = _retry_after(response)
            except (aiohttp.ClientError, TimeoutError, OSError) as broken:
                error = Unavailable(
                    f"{what}: cannot reach registry {reference.host}: {broken or type(broken).__name__}"
                )
                asked = 0.0
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
                url = _redirected(url, response)
            elif response.status != 401 or not ours or not await self._logged_in(reference, scope, base, response):
                return response
            response.release()
        raise Unavailable(f"registry {reference.host}: more than {MAX_REDIRECTS} redirects or logins for {path}")

    async def _logged_in(self, reference: Reference, scope: str, base: URL, response: aiohttp.ClientResponse) -> bool:
        header = ", ".join(response.headers.getall("WWW-Authenticate", []))
        return await self._authority.answer(reference.host, scope, base, header)


def _redirected(url: URL, response: aiohttp.ClientResponse) -> URL:
    try:
        target = url.join(URL(response.headers.get("Location", ""), encoded=True))
    except ValueError as error:
        raise InvalidArgument(f"registry {url.host}: it redirects to a malformed address") from error
    if target.scheme not in ("http", "https") or (url.scheme == "https" and target.scheme == "http"):
        raise PermissionDenied(
            f"registry {url.host}: it redirects from https to {target.scheme}, which is not followed"
        )
    return target


def _descriptor(response: aiohttp.ClientResponse, reference: Reference) -> Descriptor | None:
    """What HEAD says; None if it leaves out what is needed."""
    digest = response.headers.get("Docker-Content-Digest", "")
    if not digest or response.content_length is None:
        return None
    digests.parse(digest)
    if response.content_length > documents.MAX_SIZE:
        raise ResourceExhausted(f"image {reference}: its manifest is larger than {documents.MAX_SIZE} bytes")
    return Descriptor(_media_type(response), digest, response.content_length)


def _media_type(response: aiohttp.ClientResponse) -> str:
    return response.headers.get("Content-Type", "").partition(";")[0].strip()


def _skipped(response: aiohttp.ClientResponse, offset: int) -> int:
    """How many bytes come before those that were asked for: a registry may ignore ranges."""
    if not offset or response.status != 206:
        return offset
    given = response.headers.get("Content-Range", "")
    if not given.startswith(f"bytes {offset}-"):
        raise DataLoss(f"registry {response.url.host}: asked for bytes from {offset}, it sends {given[:100]!r}")
    return 0


def _check_length(response: aiohttp.ClientResponse, descriptor: Descriptor, start: int) -> None:
    length = response.content_length
    if length is not None and start + length != descriptor.size:
        raise DataLoss(
            f"content {descriptor.digest}: the registry announces {start + length} bytes, "
            f"while the manifest says {descriptor.size}"
        )


async def _read(response: aiohttp.ClientResponse, limit: int, what: str) -> bytes:
    if (response.content_length or 0) > limit:
        raise ResourceExhausted(f"{what}: {response.content_length} bytes are more than the {limit} allowed")
    data = bytearray()
    async for chunk in _chunks(response, what):
        data += chunk
        if len(data) > limit:
            raise ResourceExhausted(f"{what}: it has more than the {limit} bytes allowed")
    return bytes(data)


async def _chunks(response: aiohttp.ClientResponse, what: str) -> AsyncIterator[bytes]:
    """The body in parts of about `CHUNK`: each part costs whoever stores it a change of thread or a message."""
    parts = bytearray()
    try:
        async for data in response.content.iter_any():
            parts += data
            if len(parts) >= CHUNK:
                yield bytes(parts)
                parts.clear()
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        broken: Unavailable | None = Unavailable(f"{what}: the connection broke: {error or type(error).__name__}")
    else:
        broken = None
    if parts:
        yield bytes(parts)
    if broken:
        raise broken


def _retry_after(response: aiohttp.ClientResponse) -> float:
    """Seconds that the registry asks to wait; at most a minute is granted."""
    value = response.headers.get("Retry-After", "")
    return min(float(value), 60.0) if value.isdigit() else 0.0


async def _error(response: aiohttp.ClientResponse, what: str) -> CortenError:
    cls, text = _ERRORS.get(response.status, (Unknown, f"it answers with status {response.status}"))
    if response.status >= 500:
        cls = Unavailable
    said = await _said(response)
    response.release()
    return cls(f"{what}: registry {response.url.host}: {text}{f' ({said})' if said else ''}")


async def _said(response: aiohttp.ClientResponse) -> str:
    """The registry's own words, if it has any."""
    try:
        body = json.loads(await response.content.read(_MAX_ERROR))
        first = body["errors"][0]
        return f"{first.get('code', '')}: {first.get('message', '')}"[:300]
    except (ValueError, LookupError, TypeError, AttributeError, aiohttp.ClientError, TimeoutError):
        return ""
