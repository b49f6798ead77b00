"""What a registry answers: read with bounds, its claims checked, its refusals put into the words of `corten.errors`."""

import asyncio
import datetime
import json
import re
from collections.abc import AsyncIterator, Mapping
from email.utils import parsedate_to_datetime

import aiohttp
from yarl import URL

from corten import digests
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
from corten.oci_image import documents
from corten.references import Reference

from . import encodings
from .troubles import trouble

CHUNK = 1 << 20
"""Bytes in which blobs are handed out; the last part is shorter."""
REDIRECTS = frozenset({301, 302, 303, 307, 308})
_MAX_ERROR = 8192
_MAX_SAID = 300
_MAX_WARNING = 4096
_WARNING = re.compile(r'299 - "((?:[^"\\]|\\.)*)"')
_ERRORS: Mapping[int, tuple[type[CortenError], str]] = {
    401: (Unauthenticated, "it wants a login, or the image does not exist"),
    403: (PermissionDenied, "it denies access"),
    404: (NotFound, "not found there"),
    413: (Unknown, "it takes nothing of that size (often the limit of a proxy before it)"),
    416: (OutOfRange, "it has no such range"),
    429: (ResourceExhausted, "it limits the rate of requests (try later, or log in)"),
}


def authority(url: URL) -> str:
    """Host, and port if it is not the usual one: as people name registries."""
    return f"{url.host}:{url.port}" if url.port and not url.is_default_port() else str(url.host)


def redirected(url: URL, response: aiohttp.ClientResponse) -> URL:
    """Where the answer sends on to. Raises InvalidArgument if that is no address, PermissionDenied for plain text."""
    if not (given := response.headers.get("Location", "")):
        raise InvalidArgument(f"registry {authority(url)}: it redirects (status {response.status}) to no address")
    try:
        target = url.join(URL(given, encoded=True))
    except ValueError as error:
        raise InvalidArgument(f"registry {authority(url)}: it redirects to a malformed address") from error
    if target.scheme not in ("http", "https") or (url.scheme == "https" and target.scheme == "http"):
        raise PermissionDenied(
            f"registry {authority(url)}: it redirects from {url.scheme} to {target.scheme}, which is not followed"
        )
    return target


def described(response: aiohttp.ClientResponse, reference: Reference) -> Descriptor | None:
    """What HEAD says; None if it leaves out what is needed: the length of an encoded body is not the manifest's."""
    digest = response.headers.get("Docker-Content-Digest", "")
    if not digest or response.content_length is None or encodings.encoding(response):
        return None
    digests.parse(digest)
    if response.content_length > documents.MAX_SIZE:
        raise ResourceExhausted(f"image {reference}: its manifest is larger than {documents.MAX_SIZE} bytes")
    return Descriptor(media_type(response), digest, response.content_length)


def media_type(response: aiohttp.ClientResponse) -> str:
    """In lower case, as all that are known are; without parameters."""
    return response.headers.get("Content-Type", "").partition(";")[0].strip().lower()


def skipped(response: aiohttp.ClientResponse, offset: int) -> int:
    """How many bytes come before those that were asked for: a registry may ignore ranges."""
    if not offset or response.status != 206:
        return offset
    given = response.headers.get("Content-Range", "")
    if not given.startswith(f"bytes {offset}-"):
        raise DataLoss(f"registry {authority(response.url)}: asked for bytes from {offset}, it sends {given[:100]!r}")
    return 0


def check_length(response: aiohttp.ClientResponse, descriptor: Descriptor, start: int) -> None:
    length = None if encodings.encoding(response) else response.content_length
    if length is not None and start + length != descriptor.size:
        raise DataLoss(
            f"content {descriptor.digest}: the registry announces {start + length} bytes, "
            f"while the manifest says {descriptor.size}"
        )


def check_range(response: aiohttp.ClientResponse, descriptor: Descriptor, length: int) -> None:
    """Is the answer a range of that length, of a blob that has the descriptor's size? Raises DataLoss."""
    given, _, total = response.headers.get("Content-Range", "").rpartition("/")
    if total not in ("*", str(descriptor.size)) or (response.content_length or length) != length:
        raise DataLoss(
            f"content {descriptor.digest}: the registry announces {given[:100]!r} of {total[:100]} bytes, "
            f"while the manifest says {descriptor.size}"
        )


async def read_exactly(response: aiohttp.ClientResponse, length: int, what: str) -> list[bytes]:
    """The body in parts of about `CHUNK`. Raises Unavailable for fewer bytes than `length`, DataLoss for more."""
    parts: list[bytes] = []
    missing = length
    async for chunk in chunks(response, what):
        parts.append(chunk)
        missing -= len(chunk)
        if missing < 0:
            raise DataLoss(f"{what}: the registry sends more than was asked for")
    if missing:
        raise Unavailable(f"{what}: the connection broke")
    return parts


async def read(response: aiohttp.ClientResponse, limit: int, what: str) -> bytes:
    if (response.content_length or 0) > limit:
        raise ResourceExhausted(f"{what}: {response.content_length} bytes are more than the {limit} allowed")
    data = bytearray()
    async for chunk in chunks(response, what):
        data += chunk
        if len(data) > limit:
            raise ResourceExhausted(f"{what}: it has more than the {limit} bytes allowed")
    return bytes(data)


async def chunks(response: aiohttp.ClientResponse, what: str) -> AsyncIterator[bytes]:
    """The body, decoded, in parts of about `CHUNK`: each costs whoever stores it a change of thread or a message."""
    parts: list[bytes] = []
    size = 0
    received: AsyncIterator[bytes] = response.content.iter_any()
    if encoding := encodings.encoding(response):
        received = encodings.decoded(received, encoding, what)
    try:
        async for data in received:
            parts.append(data)
            size += len(data)
            if size >= CHUNK:
                yield b"".join(parts)
                parts, size = [], 0
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        broken: Unavailable | None = Unavailable(f"{what}: the connection broke: {trouble(error)}")
    else:
        broken = None
    if parts:
        yield b"".join(parts)
    if broken:
        raise broken


def warnings(response: aiohttp.ClientResponse) -> list[str]:
    """What the registry says to people: `Warning: 299 - "text"` (distribution spec, warnings)."""
    found = [_WARNING.fullmatch(value.strip()) for value in response.headers.getall("Warning", [])]
    texts = [re.sub(r"\\(.)", r"\1", match[1]) for match in found if match]
    return [text[:_MAX_WARNING] for text in texts if text.isprintable()]


def retry_after(response: aiohttp.ClientResponse) -> float:
    """Seconds that the registry asks to wait, given as such or as a date (RFC 9110, section 10.2.3)."""
    value = response.headers.get("Retry-After", "").strip()
    if value.isascii() and value.isdigit():
        return float(value[:12])
    try:
        return max(0.0, (parsedate_to_datetime(value) - datetime.datetime.now(datetime.UTC)).total_seconds())
    except (TypeError, ValueError, OverflowError):
        return 0.0


async def error_of(response: aiohttp.ClientResponse, what: str) -> CortenError:
    cls, text = _ERRORS.get(response.status, (Unknown, f"it answers with status {response.status}"))
    if response.status == 401:
        text = _refused(response.request_info.headers.get("Authorization", "")) or text
    if response.status >= 500:
        cls = Unavailable
    if asked := retry_after(response):
        text += f", and asks to wait for {asked:.0f} s"
    said = await _said(response)
    response.release()
    return cls(f"{what}: registry {authority(response.url)}: {text}{f' ({said})' if said else ''}")


def _refused(authorization: str) -> str:
    """What it means that a login was not enough; empty if there was none."""
    if authorization.startswith("Bearer "):
        return "its token opens nothing there (the image does not exist, or log in as somebody who may have it)"
    return "it refuses the login (check user and password, or the image's name)" if authorization else ""


async def _said(response: aiohttp.ClientResponse) -> str:
    """The registry's own words, if it has any: those of the specification, or the first line of a text."""
    try:
        data = await response.content.readexactly(min(response.content_length or _MAX_ERROR, _MAX_ERROR))
    except asyncio.IncompleteReadError as error:
        data = error.partial
    except (aiohttp.ClientError, TimeoutError, OSError):
        return ""
    try:
        first = json.loads(data)["errors"][0]
        return f"{first.get('code', '')}: {first.get('message', '')}"[:_MAX_SAID]
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        line = data.decode(errors="replace").strip().partition("\n")[0].strip()
        plain = media_type(response) == "text/plain" and line.isprintable()
        return line[:_MAX_SAID] if plain else ""
