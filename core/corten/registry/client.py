"""A client of registries that speak the OCI distribution specification, for reading.

https://github.com/opencontainers/distribution-spec/blob/main/spec.md. Requests that fail for a passing reason are
tried again; where host directories name mirrors, these are asked first, one after the other.
"""

import asyncio
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Collection, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

import aiohttp
from yarl import URL

from corten import digests
from corten.contracts.descriptor import Descriptor
from corten.errors import (
    CortenError,
    DataLoss,
    NotFound,
    OutOfRange,
    PermissionDenied,
    Unauthenticated,
    Unavailable,
    Unknown,
)
from corten.oci_image import documents, media_types
from corten.references import Reference

from . import answers, encodings, endpoints, host_folders
from .authority import Ask
from .connections import STALL_TIMEOUT, Connections, Request, Trace, Warn
from .credentials import Credentials, Lookup, anonymous
from .endpoints import Endpoint
from .hosts_toml import PULL, RESOLVE
from .ranges import Ranges, in_order
from .retry import Retry
from .troubles import is_lasting, trouble

_PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})
MAX_WAIT = 60.0
"""Seconds that are waited if a registry asks to; for more it is better to fail, and say so."""


class RegistryClient:
    """Connections to registries; one event loop, closed by `async with` or `close`."""

    def __init__(
        self,
        *,
        credentials: Lookup = anonymous,
        plain_http: bool | None = None,
        tls: ssl.SSLContext | None = None,
        retry: Retry | None = None,
        host_roots: Sequence[str | Path] = (),
        headers: Mapping[str, str] | None = None,
        ask: Ask | None = None,
        ranges: Ranges | None = None,
        stall_timeout: float = STALL_TIMEOUT,
        warn: Warn | None = None,
        trace: Trace | None = None,
    ) -> None:
        """`plain_http` True: http where no scheme is configured; None: https, and either for this machine.

        `tls` replaces the system's certificate authorities; `host_roots` are folders of host directories; `headers`
        go to every registry; `ask` is who gives credentials in the place of `credentials`;
        `ranges`: how large blobs are fetched; `stall_timeout`: seconds without a byte after which a connection is given
        up; `warn` is told what registries warn of, `trace` the headers of requests and answers, line by line.
        """
        self._connections = Connections(
            credentials, ask, tls, headers or {}, stall=stall_timeout, warn=warn, trace=trace
        )
        self._plain_http = plain_http
        self._host_roots = tuple(host_roots)
        self._endpoints: dict[str, tuple[Endpoint, ...]] = {}
        self._without_ranges: set[str] = set()
        self.without_chunks: set[URL] = set()
        """Registries, by the root of their API, that refused an upload in chunks."""
        self.retry = retry or Retry()
        self.ranges = ranges or Ranges()

    async def close(self) -> None:
        """Close all connections."""
        await self._connections.close()

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
            async with self._request("HEAD", reference, f"manifests/{reference.object}", _finds(reference)) as response:
                found = answers.described(response, reference)
        except (Unknown, PermissionDenied):  # a registry without HEAD, or one that says why only to GET
            found = None
        if found is None or found.media_type in media_types.UNSAID:
            found = await self._resolve_by_get(reference)
        if reference.digest and found.digest != reference.digest:
            raise DataLoss(f"image {reference}: the registry answers with another digest, {found.digest}")
        return found

    async def manifest(self, reference: Reference, descriptor: Descriptor) -> bytes:
        """An index or manifest, checked against its descriptor.

        Raises as `resolve`, ResourceExhausted for one that is too large.
        """
        what = f"{media_types.kind(descriptor.media_type)} {descriptor.digest} of {reference.name}"
        data, _ = await self._document(reference, descriptor.digest, what)
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
        ranged = self.ranges.apply(descriptor.size - offset) and reference.host not in self._without_ranges
        async with aclosing((self._ranged if ranged else self._whole)(reference, descriptor, offset)) as parts:
            try:
                async for part in parts:
                    yield part
            except OutOfRange as error:  # within the blob's size there are all ranges, or none
                raise self._no_ranges(reference, descriptor) from error

    async def _whole(self, reference: Reference, descriptor: Descriptor, offset: int) -> AsyncGenerator[bytes, None]:
        ranged = offset and reference.host not in self._without_ranges
        headers = {"Range": f"bytes={offset}-"} if ranged else {}
        async with self._request("GET", reference, f"blobs/{descriptor.digest}", headers=headers) as response:
            if response.status == 206 and encodings.encoding(response):
                raise self._no_ranges(reference, descriptor)
            skip = answers.skipped(response, offset)
            answers.check_length(response, descriptor, offset - skip)
            async for chunk in answers.chunks(response, f"content {descriptor.digest}"):
                yield chunk[skip:] if skip else chunk
                skip = max(0, skip - len(chunk))

    async def _ranged(self, reference: Reference, descriptor: Descriptor, offset: int) -> AsyncGenerator[bytes, None]:
        """Several ranges at once. Raises Unavailable, to go on without, if the registry knows no ranges."""

        async def part(start: int, end: int) -> list[bytes]:
            headers = {"Range": f"bytes={start}-{end - 1}"}
            async with self._request("GET", reference, f"blobs/{descriptor.digest}", headers=headers) as response:
                if response.status != 206 or encodings.encoding(response):
                    raise self._no_ranges(reference, descriptor)
                answers.skipped(response, start)
                answers.check_range(response, descriptor, end - start)
                return await answers.read_exactly(response, end - start, f"content {descriptor.digest}")

        async with aclosing(in_order(part, offset, descriptor.size, self.ranges)) as ranges:
            async for parts in ranges:
                for data in parts:
                    yield data

    def _no_ranges(self, reference: Reference, descriptor: Descriptor) -> Unavailable:
        """To go on without: there are none, or ranges of what is encoded, of which nobody knows where they begin."""
        self._without_ranges.add(reference.host)
        return Unavailable(f"content {descriptor.digest}: registry {reference.host} knows no ranges")

    async def _resolve_by_get(self, reference: Reference) -> Descriptor:
        data, said = await self._document(reference, reference.object, f"image {reference}", _finds(reference))
        algorithm = digests.parse(reference.digest)[0] if reference.digest else "sha256"
        return Descriptor(_type_of(data, said), digests.of(data, algorithm), len(data))

    async def _document(
        self, reference: Reference, object: str, what: str, capabilities: Collection[str] = (PULL,)
    ) -> tuple[bytes, str]:
        """The bytes of an index or manifest, and what the registry says it is; tried again where they break off."""
        pauses = self.retry.pauses()
        while True:
            async with self._request("GET", reference, f"manifests/{object}", capabilities) as response:
                try:
                    return await answers.read(response, documents.MAX_SIZE, what), answers.media_type(response)
                except Unavailable:
                    if (pause := next(pauses, None)) is None:
                        raise
            await asyncio.sleep(pause)

    @asynccontextmanager
    async def _request(
        self,
        method: str,
        reference: Reference,
        path: str,
        capabilities: Collection[str] = (PULL,),
        headers: Mapping[str, str] | None = None,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """An answer of 2xx; anything else is raised, after the hosts and retries that make sense."""
        accept = {"Accept": media_types.ACCEPT} if path.startswith("manifests/") else {}
        request = Request(method, reference, path, headers={**accept, **(headers or {})})
        response = await self.answer(request, *capabilities)
        try:
            yield response
        finally:
            response.close()

    async def credentials(self, reference: Reference) -> Credentials | None:
        """Who one is at the reference's registry itself, before it asks; None for nobody, or if only mirrors are."""
        own = [endpoint for endpoint in await self.endpoints(reference.host, RESOLVE) if not endpoint.query]
        return await self._connections.credentials(own[0], str(reference)) if own else None

    async def answer(self, request: Request, *capabilities: str) -> aiohttp.ClientResponse:
        """The first answer of 2xx or 3xx of a host that is capable of all these; the caller closes it.

        Only the last host is asked again for passing errors. Raises the error that says most, with what the other
        hosts said: a refusal, else NotFound, else that none can be reached.
        """
        capable = await self.endpoints(request.reference.host, *capabilities)
        errors: list[CortenError] = []
        for endpoint in capable:
            try:
                return await self.answer_of(endpoint, request, patient=endpoint is capable[-1])
            except CortenError as error:
                errors.append(error)
        raise _all_of(errors, _what(request))

    async def endpoints(self, host: str, *capabilities: str) -> Sequence[Endpoint]:
        """The hosts to ask, best first. Raises NotFound if none is left, InvalidArgument for malformed host files."""
        if host not in self._endpoints:
            entries = (
                await asyncio.to_thread(host_folders.entries, self._host_roots, host) if self._host_roots else None
            )
            self._endpoints[host] = endpoints.plan(host, entries, self._plain_http)
        capable = [each for each in self._endpoints[host] if each.capabilities.issuperset(capabilities)]
        if not capable:
            wanted = " and ".join(map(repr, capabilities))
            raise NotFound(f"registry {host}: its host directory names no host with the capability {wanted}")
        return capable

    async def answer_of(self, endpoint: Endpoint, request: Request, *, patient: bool = True) -> aiohttp.ClientResponse:
        """The answer of one host; `patient`: passing errors are tried again. Raises any other status as an error."""
        what = _what(request)
        pauses = self.retry.pauses() if patient else iter(())
        while True:
            outcome, asked = await self._attempt(endpoint, request, what)
            if isinstance(outcome, aiohttp.ClientResponse):
                return outcome
            if (pause := next(pauses, None)) is None or asked > MAX_WAIT:
                raise outcome
            await asyncio.sleep(max(pause, asked))

    async def _attempt(
        self, endpoint: Endpoint, request: Request, what: str
    ) -> tuple[aiohttp.ClientResponse | CortenError, float]:
        """The answer, or why there is none for the moment and how many seconds the registry asks to wait."""
        try:
            response = await self._connections.send(endpoint, request)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            unreachable = Unavailable(
                f"{what}: cannot reach registry {answers.authority(endpoint.base)}: {trouble(error)}"
            )
            unreachable.__cause__ = error
            if is_lasting(error):
                raise unreachable from error
            return unreachable, 0.0
        except Unavailable as error:  # the token server
            return _named(error, what), 0.0
        except Unauthenticated as error:
            raise _named(error, what) from error
        if response.status < 400:
            return response, 0.0
        try:
            refusal = await answers.error_of(response, what)
        finally:
            response.release()  # whoever is cancelled meanwhile leaves no connection open
        if response.status not in _PASSING:
            raise refusal
        return refusal, answers.retry_after(response)


def _finds(reference: Reference) -> Collection[str]:
    """What a host must be capable of to say what the reference points to; a digest says it by itself."""
    return (PULL,) if reference.digest else (PULL, RESOLVE)


def _type_of(data: bytes, said: str) -> str:
    """What a document is, by the registry or, where that says nothing of use, by itself."""
    if said not in media_types.UNSAID:
        return said
    try:
        own = documents.load(data, "it").get("mediaType")
    except CortenError:
        return said  # whoever reads it will find out
    return own if isinstance(own, str) and media_types.kind(own) in ("index", "manifest") else said


def _what(request: Request) -> str:
    if request.path.startswith("blobs/") and not request.path.endswith("/"):
        return f"content {request.path.removeprefix('blobs/')}"
    return f"image {request.reference}"


def _named(error: CortenError, what: str) -> CortenError:
    """The same of a token server, which does not know what it was asked for."""
    named = type(error)(f"{what}: {error.message}")
    named.__cause__ = error.__cause__
    return named


def _all_of(errors: Sequence[CortenError], what: str) -> CortenError:
    """The error that says most, and in its message what the others say."""
    if len(errors) == 1:
        return errors[0]
    first = min(errors, key=_says_little)
    told = [
        error.message.removeprefix(f"{what}: ") for error in (first, *(each for each in errors if each is not first))
    ]
    return type(first)(f"{what}: {'; '.join(told)}")


def _says_little(error: CortenError) -> int:
    if isinstance(error.__cause__, aiohttp.ClientError | TimeoutError | OSError):
        return 2  # nobody answered
    return int(isinstance(error, NotFound))
