"""Header blocks of SPDY/3.1 (draft-mbelshe-httpbis-spdy-00, section 2.6.10): names and values, compressed by zlib.

Both directions keep their compression state for the whole connection, beginning with the dictionary of the draft.
"""

import struct
import zlib
from collections.abc import Mapping

from corten.errors import InvalidArgument

BLOCK_MAX = 64 << 10
"""Bytes of one block uncompressed: the headers of streams are a few short words, and a bomb is refused."""

_WORDS = (
    "options head post put delete trace accept accept-charset accept-encoding accept-language accept-ranges age allow "
    "authorization cache-control connection content-base content-encoding content-language content-length "
    "content-location content-md5 content-range content-type date etag expect expires from host if-match "
    "if-modified-since if-none-match if-range if-unmodified-since last-modified location max-forwards pragma "
    "proxy-authenticate proxy-authorization range referer retry-after server te trailer transfer-encoding upgrade "
    "user-agent vary via warning www-authenticate method get status 200_OK version HTTP/1.1 url public set-cookie "
    "keep-alive origin"
)
_TAIL = (
    "100101201202205206300302303304305306307402405406407408409410411412413414415416417502504505"
    "203 Non-Authoritative Information204 No Content301 Moved Permanently400 Bad Request401 Unauthorized403 Forbidden"
    "404 Not Found500 Internal Server Error501 Not Implemented503 Service UnavailableJan Feb Mar Apr May Jun Jul Aug "
    "Sept Oct Nov Dec 00:00:00 Mon, Tue, Wed, Thu, Fri, Sat, Sun, GMTchunked,text/html,image/png,image/jpg,image/gif,"
    "application/xml,application/xhtml+xml,text/plain,text/javascript,publicprivatemax-age=gzip,deflate,sdch"
    "charset=utf-8charset=iso-8859-1,utf-,*,enq=0."
)
_LENGTH = struct.Struct(">I")


def _counted(word: str) -> bytes:
    return _LENGTH.pack(len(word)) + word.encode()


DICTIONARY = b"".join(_counted(word.replace("_", " ")) for word in _WORDS.split()) + _TAIL.encode()


class HeaderEncoder:
    """Makes the blocks of one direction."""

    def __init__(self) -> None:
        self._compressor = zlib.compressobj(zdict=DICTIONARY)

    def encode(self, headers: Mapping[str, str]) -> bytes:
        """A block; to be sent in the order in which blocks are made."""
        plain = _LENGTH.pack(len(headers)) + b"".join(
            _counted(name.lower()) + _counted(value) for name, value in headers.items()
        )
        return self._compressor.compress(plain) + self._compressor.flush(zlib.Z_SYNC_FLUSH)


class HeaderDecoder:
    """Reads the blocks of one direction."""

    def __init__(self) -> None:
        self._decompressor = zlib.decompressobj(zdict=DICTIONARY)

    def decode(self, block: bytes) -> dict[str, str]:
        """Names in lower case. Raises InvalidArgument; the connection cannot go on then."""
        try:
            plain = self._decompressor.decompress(block, BLOCK_MAX)
        except zlib.error as error:
            raise InvalidArgument(f"SPDY: header block: {error}") from None
        if self._decompressor.unconsumed_tail:
            raise InvalidArgument(f"SPDY: header block: over {BLOCK_MAX} bytes")
        return _parse(plain)


def _parse(plain: bytes) -> dict[str, str]:
    try:
        (count,) = _LENGTH.unpack_from(plain)
        position, headers = 4, {}
        for _ in range(count):
            name, position = _string(plain, position)
            value, position = _string(plain, position)
            headers[name.lower()] = value
    except (struct.error, UnicodeDecodeError) as error:
        raise InvalidArgument(f"SPDY: header block: {error}") from None
    return headers


def _string(plain: bytes, position: int) -> tuple[str, int]:
    (length,) = _LENGTH.unpack_from(plain, position)
    end = position + 4 + length
    if end > len(plain):
        raise InvalidArgument("SPDY: header block: a string is longer than its block")
    return plain[position + 4 : end].decode(), end
