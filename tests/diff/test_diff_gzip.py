"""Gzip streams of contents that one library or the other inflates: the same bytes, the same refusals."""

import gzip
import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from corten.errors import InvalidArgument
from corten_differs.streams import Source, decompressed

CONTENTS = {
    "text": b"".join(f"line {n} of a text\n".encode() for n in range(40_000)),
    "noise": random.Random(1).randbytes(1 << 20),
    "noise after text": b"text " * 10_000 + random.Random(2).randbytes(1 << 20),
    "text after noise": random.Random(3).randbytes(1 << 20) + b"text " * 200_000,
    "little": b"x",
}


@pytest.fixture(params=CONTENTS)
def content(request: pytest.FixtureRequest) -> bytes:
    return CONTENTS[request.param]


def inflated(tmp_path: Path, data: bytes) -> bytes:
    """What comes out of a blob of these bytes."""
    path = tmp_path / "blob"
    path.write_bytes(data)
    fd = os.open(path, os.O_RDONLY)
    try:
        pieces: Iterator[bytes] = decompressed(Source(fd))
        return b"".join(pieces)
    finally:
        os.close(fd)


@pytest.mark.parametrize("step", [20_000, 300_000, 1 << 30], ids=["many members", "some members", "one member"])
def test_every_member_is_read(tmp_path: Path, content: bytes, step: int) -> None:
    members = [gzip.compress(content[at : at + step]) for at in range(0, len(content), step)]
    assert inflated(tmp_path, b"".join(members)) == content
    assert inflated(tmp_path, b"".join(members) + b"\0" * 70_000) == content


@pytest.mark.parametrize("missing", [1, 8, 9, 200])
def test_a_stream_that_ends_early_is_refused(tmp_path: Path, content: bytes, missing: int) -> None:
    data = gzip.compress(content)
    with pytest.raises(InvalidArgument, match=r"gzip stream is (truncated|damaged)"):
        inflated(tmp_path, data[: max(18, len(data) - missing)])


@pytest.mark.parametrize("place", [-8, -3], ids=["the checksum", "the length"])
def test_a_trailer_that_does_not_fit_is_refused(tmp_path: Path, content: bytes, place: int) -> None:
    data = bytearray(gzip.compress(content))
    data[place] ^= 0x55
    with pytest.raises(InvalidArgument, match="damaged"):
        inflated(tmp_path, bytes(data))


def test_bytes_after_the_last_member_are_refused(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(InvalidArgument, match=r"gzip stream is (truncated|damaged)"):
        inflated(tmp_path, gzip.compress(content) + b"no gzip")


def with_name(data: bytes, length: int) -> bytes:
    """The member with the name of a file in its header (RFC 1952, FNAME)."""
    return data[:3] + b"\x08" + data[4:10] + b"n" * length + b"\0" + data[10:]


def test_the_name_of_a_member_is_passed_over(tmp_path: Path, content: bytes) -> None:
    assert inflated(tmp_path, with_name(gzip.compress(content), 5000)) == content


def test_a_header_that_would_fill_the_memory_is_refused(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(InvalidArgument, match=r"damaged: .*header"):
        inflated(tmp_path, with_name(gzip.compress(content), 8 << 20))
