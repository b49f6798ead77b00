"""Headers of tar archives, read purely: ustar, pax and GNU (POSIX.1-2017 pax(1), tar(5) of libarchive)."""

import zlib
from collections.abc import Mapping

from corten.errors import InvalidArgument

BLOCK = 512
ZERO = bytes(BLOCK)

REGULAR, LINK, SYMLINK, CHARACTER, BLOCK_DEVICE, DIRECTORY, FIFO = b"0", b"1", b"2", b"3", b"4", b"5", b"6"
PAX, PAX_GLOBAL, GNU_NAME, GNU_LINK, GNU_SPARSE = b"x", b"g", b"L", b"K", b"S"
_WITHOUT_DATA = frozenset({LINK, SYMLINK, CHARACTER, BLOCK_DEVICE, DIRECTORY, FIFO})
MAX_SIZE = 1 << 62
MAX_ID = (1 << 32) - 1
"""The last number means "leave it" to chown(2), so it is no owner."""
SPARSE_MAP = b"GNU.sparse.map"
_SPARSE_PARTS = (b"GNU.sparse.offset", b"GNU.sparse.numbytes")
_XATTR = b"SCHILY.xattr."
_NANO = 1_000_000_000
_MAX_SECONDS = 1 << 33
"""Beyond the year 2242 a time is taken for nonsense and becomes the epoch, as does one before it."""


class Entry:
    """One member of an archive; `size` is the number of bytes that follow its headers. Times in nanoseconds."""

    __slots__ = (
        "atime", "gid", "kind", "link", "major", "minor", "mode", "mtime", "name", "real_size", "segments", "size",
        "uid", "xattrs",
    )  # fmt: skip

    def __init__(self, block: bytes) -> None:
        if zlib.adler32(block[:148] + b"        " + block[156:]) & 0xFFFF != (_number(block[148:156]) + 1) % 65521:
            # The low half of Adler-32 is the sum of the bytes and one, modulo 65521.
            raise InvalidArgument("tar header with a wrong checksum")
        end = block.find(b"\0", 0, 100)
        self.name = block[: end if end >= 0 else 100]
        self.kind = block[156:157]
        self.mode = _number(block[100:108]) & 0o7777
        self.uid = _number(block[108:116])
        self.gid = _number(block[116:124])
        self.size = _number(block[124:136])
        self.mtime = bounded(_number(block[136:148])) * _NANO
        self.atime = self.mtime
        self.xattrs: dict[str, bytes] | None = None
        self.segments: list[tuple[int, int]] | None = None
        self.real_size = self.size
        self.major = self.minor = 0
        self.link = b""
        if self.kind != REGULAR:
            self._read_rest(block)
        if block[257:263] == b"ustar\0" and block[345]:
            self.name = block[345:500].split(b"\0", 1)[0] + b"/" + self.name

    def _read_rest(self, block: bytes) -> None:
        self.link = block[157:257].split(b"\0", 1)[0]
        if self.kind in (CHARACTER, BLOCK_DEVICE):
            self.major, self.minor = _number(block[329:337]), _number(block[337:345])
        elif self.kind in (b"\0", b"7"):
            self.kind = REGULAR

    def finish(self, pax: Mapping[bytes, bytes] | None, name: bytes | None, link: bytes | None) -> None:
        """Apply what came in headers of their own before this one."""
        if pax:
            self._apply_pax(pax)
        if name is not None:
            self.name = name
        if link is not None:
            self.link = link
        if self.kind == REGULAR and self.name.endswith(b"/"):
            self.kind = DIRECTORY
        if self.kind in _WITHOUT_DATA:
            self.size = 0
        if not 0 <= self.size < MAX_SIZE:
            raise InvalidArgument(f"tar header with the impossible size {self.size}")
        if not 0 <= self.uid < MAX_ID or not 0 <= self.gid < MAX_ID:
            raise InvalidArgument(f"tar header with the impossible owner {self.uid}:{self.gid}")

    def _apply_pax(self, pax: Mapping[bytes, bytes]) -> None:
        self.name = pax.get(b"path", self.name)
        self.link = pax.get(b"linkpath", self.link)
        if b"size" in pax:
            self.size = self.real_size = decimal(pax[b"size"])
        if b"uid" in pax:
            self.uid = decimal(pax[b"uid"])
        if b"gid" in pax:
            self.gid = decimal(pax[b"gid"])
        if b"mtime" in pax:
            self.mtime = self.atime = _time(pax[b"mtime"])
        if b"atime" in pax:
            self.atime = _time(pax[b"atime"])
        for key, value in pax.items():
            if key.startswith(_XATTR):
                self.xattrs = self.xattrs or {}
                self.xattrs[key[len(_XATTR) :].decode(errors="surrogateescape")] = value


def parse_pax(data: bytes) -> dict[bytes, bytes]:
    """The records of a pax extended header; a sparse map of version 0.0, a key for each number, as that of 0.1.

    Raises InvalidArgument.
    """
    records: dict[bytes, bytes] = {}
    numbers: list[bytes] = []
    position = 0
    while position < len(data) and data[position]:
        space = data.find(b" ", position, position + 20)
        length = decimal(data[position:space]) if space > 0 else 0
        end = position + length
        if space < 0 or length <= space - position + 1 or end > len(data) or data[end - 1 : end] != b"\n":
            raise InvalidArgument("malformed pax header")
        key, equals, value = data[space + 1 : end - 1].partition(b"=")
        if not equals or not key or (b"\0" in value and not key.startswith(_XATTR)):
            raise InvalidArgument("malformed pax header")
        if key in _SPARSE_PARTS:
            numbers.append(value)
        else:
            records[key] = value
        position = end
    if numbers:
        records[SPARSE_MAP] = b",".join(numbers)
    return records


def decimal(text: bytes) -> int:
    """A number in decimal digits. Raises InvalidArgument."""
    if not text.isdigit() or len(text) > 20:
        raise InvalidArgument(f"tar header with the malformed number {text[:32]!r}")
    return int(text)


def bounded(seconds: int) -> int:
    """Seconds since the epoch that a file system can store."""
    return seconds if 0 <= seconds < _MAX_SECONDS else 0


def _number(field: bytes) -> int:
    if field[0] & 0x80:  # GNU: big-endian binary for what has no room in octal
        value = int.from_bytes(field, "big") & ((1 << (8 * len(field) - 1)) - 1)
        return value if field[0] == 0x80 else -1
    try:
        return int(field.strip(b" \0") or b"0", 8)
    except ValueError:
        raise InvalidArgument(f"tar header with the malformed number {field!r}") from None


def _time(text: bytes) -> int:
    if text.startswith(b"-"):
        return 0
    whole, _, fraction = text.partition(b".")
    if fraction and not fraction.isdigit():
        raise InvalidArgument(f"tar header with the malformed time {text[:32]!r}")
    seconds = bounded(decimal(whole or b"0"))
    return seconds * _NANO + (int(fraction[:9].ljust(9, b"0")) if seconds else 0)
