"""Where the data of a sparse file lies: the maps of GNU tar's old format and of its pax formats, read purely.

https://www.gnu.org/software/tar/manual/html_node/Sparse-Formats.html
"""

from collections.abc import Callable

from corten.errors import InvalidArgument

from .tar_header import BLOCK, MAX_SIZE, decimal

MAX_SEGMENTS = 1 << 16
Segments = list[tuple[int, int]]
"""Offset and length in bytes."""


def gnu_segments(block: bytes, next_block: Callable[[], bytes]) -> tuple[Segments, int]:
    """Segments and real size of an entry of type `S`; continuation blocks are taken from `next_block`."""
    segments = _fields(block[386:482])
    more, size = block[482], _octal(block[483:495])
    while more:
        block = next_block()
        segments += _fields(block[:504])
        more = block[504]
        _check_count(len(segments))
    return checked(segments, size), size


def pax_segments(next_block: Callable[[], bytes], size: int) -> tuple[Segments, int]:
    """Segments of an entry whose data begins with the map, and how many bytes of the data the map took."""
    text = b""
    numbers: list[bytes] = []
    wanted = 1
    used = 0
    while len(numbers) < wanted:
        if used + BLOCK > size:
            raise InvalidArgument("a sparse map larger than its file")
        text += next_block()
        used += BLOCK
        *lines, text = text.split(b"\n")
        numbers += lines
        if numbers and wanted == 1:
            _check_count(decimal(numbers[0]))
            wanted = 1 + 2 * decimal(numbers[0])
    values = [decimal(number) for number in numbers[1:wanted]]
    return list(zip(values[::2], values[1::2], strict=True)), used


def listed_segments(text: bytes) -> Segments:
    """Segments of the pax formats 0.0 and 0.1: offset and length by turns, between commas."""
    _check_count(text.count(b",") // 2)
    values = [decimal(number) for number in text.split(b",")]
    if len(values) % 2:
        raise InvalidArgument("a sparse map with an offset that has no length")
    return list(zip(values[::2], values[1::2], strict=True))


def checked(segments: Segments, size: int) -> Segments:
    """The same segments, in order and within the file. Raises InvalidArgument."""
    if size >= MAX_SIZE:
        raise InvalidArgument(f"a sparse file of the impossible size {size}")
    end = 0
    for offset, length in segments:
        if offset < end or length < 0 or offset + length > size:
            raise InvalidArgument("a sparse map that is out of order or beyond its file")
        end = offset + length
    return segments


def _check_count(count: int) -> None:
    if count > MAX_SEGMENTS:
        raise InvalidArgument(f"a sparse file of more than {MAX_SEGMENTS} parts")


def _fields(table: bytes) -> Segments:
    pairs = (table[i : i + 24] for i in range(0, len(table) - 23, 24))
    return [(_octal(pair[:12]), _octal(pair[12:])) for pair in pairs if pair[0]]


def _octal(field: bytes) -> int:
    if field[0] & 0x80:
        return int.from_bytes(field[1:], "big")
    try:
        return int(field.strip(b" \0") or b"0", 8)
    except ValueError:
        raise InvalidArgument(f"a sparse map with the malformed number {field!r}") from None
