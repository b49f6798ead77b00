"""Tar headers, made purely: ustar where it has room, pax records where it has not; the same entry, the same bytes.

https://pubs.opengroup.org/onlinepubs/9699919799/utilities/pax.html
"""

from collections.abc import Mapping
from dataclasses import field

from corten.values import dataclass

from .tar_header import BLOCK

END = bytes(2 * BLOCK)
_MAX_OCTAL_7 = 0o7777777
_MAX_OCTAL_11 = 0o77777777777


@dataclass(frozen=True, slots=True)
class Member:
    """What is written of a file; `mtime` in seconds, `kind` the type flag."""

    name: bytes
    kind: bytes
    mode: int = 0
    uid: int = 0
    gid: int = 0
    size: int = 0
    mtime: int = 0
    link: bytes = b""
    major: int = 0
    minor: int = 0
    xattrs: Mapping[str, bytes] = field(default_factory=dict)


def header(member: Member) -> bytes:
    """All the blocks that come before the data."""
    records = _records(member)
    prefix, name = _split(member.name)
    main = _block(member, prefix, name)
    return _extended(records) + main if records else main


def padding(size: int) -> bytes:
    """Zeros from the end of data to the next block."""
    return bytes(-size % BLOCK)


def _records(member: Member) -> list[tuple[bytes, bytes]]:
    """What ustar has no room for, in a fixed order."""
    found = [
        (b"gid", b"%d" % member.gid, member.gid > _MAX_OCTAL_7),
        (b"linkpath", member.link, len(member.link) > 100 or not member.link.isascii()),
        (b"mtime", b"%d" % member.mtime, not 0 <= member.mtime <= _MAX_OCTAL_11),
        (b"path", member.name, not member.name.isascii() or _split(member.name)[1] is None),
        (b"size", b"%d" % member.size, member.size > _MAX_OCTAL_11),
        (b"uid", b"%d" % member.uid, member.uid > _MAX_OCTAL_7),
    ]
    records = [(key, value) for key, value, needed in found if needed]
    xattrs = sorted(member.xattrs.items())
    return records + [(b"SCHILY.xattr." + name.encode(errors="surrogateescape"), value) for name, value in xattrs]


def _split(name: bytes) -> tuple[bytes, bytes | None]:
    """Prefix and name as ustar holds them; no name if it does not fit."""
    if len(name) <= 100:
        return b"", name
    slash = name.find(b"/", len(name) - 101)
    if 0 < slash <= 155 and slash + 1 < len(name):
        return name[:slash], name[slash + 1 :]
    return b"", None


def _extended(records: list[tuple[bytes, bytes]]) -> bytes:
    data = b"".join(_record(key, value) for key, value in records)
    head = _block(Member(b"pax", b"x", size=len(data)), b"", b"pax")
    return head + data + padding(len(data))


def _record(key: bytes, value: bytes) -> bytes:
    rest = len(key) + len(value) + 3
    length = rest + len(str(rest))
    length = rest + len(str(length))  # the digits of the length count too
    return b"%d %s=%s\n" % (length, key, value)


def _block(member: Member, prefix: bytes, name: bytes | None) -> bytes:
    device = member.kind in (b"3", b"4")
    fields = (
        (member.name[:100] if name is None else name).ljust(100, b"\0"),
        _octal(member.mode, 8),
        _octal(member.uid if member.uid <= _MAX_OCTAL_7 else 0, 8),
        _octal(member.gid if member.gid <= _MAX_OCTAL_7 else 0, 8),
        _octal(member.size if member.size <= _MAX_OCTAL_11 else 0, 12),
        _octal(member.mtime if 0 <= member.mtime <= _MAX_OCTAL_11 else 0, 12),
        b"        ",
        member.kind,
        member.link[:100].ljust(100, b"\0"),
        b"ustar\00000",
        bytes(64),
        _octal(member.major, 8) if device else bytes(8),
        _octal(member.minor, 8) if device else bytes(8),
        prefix.ljust(155, b"\0"),
        bytes(12),
    )
    block = b"".join(fields)
    return block[:148] + b"%06o\0 " % sum(block) + block[156:]


def _octal(value: int, width: int) -> bytes:
    return b"%0*o\0" % (width - 1, value)
