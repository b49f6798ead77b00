"""Frames and header blocks of SPDY/3.1 against bytes put together by hand from the draft, and hostile ones."""

import zlib
from collections.abc import AsyncIterator

import aiohttp
import pytest
from corten.errors import InvalidArgument
from corten_cri.streaming import spdy_frames as frames
from corten_cri.streaming.server import StreamingServer
from corten_cri.streaming.spdy_headers import BLOCK_MAX, DICTIONARY, HeaderDecoder, HeaderEncoder
from cri.stream_world import FakeTarget, server
from hypothesis import given, settings
from hypothesis import strategies as st

V5 = "v5.channel.k8s.io"


@pytest.fixture
def target() -> FakeTarget:
    return FakeTarget()


@pytest.fixture
async def streaming(target: FakeTarget) -> AsyncIterator[StreamingServer]:
    async with server(target) as made:
        yield made


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


# ------------------------------------------------------------------ frames and headers, byte by byte


def test_frames_are_the_bytes_of_the_draft() -> None:
    assert frames.data(1, b"hi", fin=True) == bytes.fromhex("00000001 01000002 6869")
    assert frames.data(0x7FFFFFFF, b"") == bytes.fromhex("7fffffff 00000000")
    assert frames.syn_stream(3, b"AB") == bytes.fromhex("80030001 0000000c 00000003 00000000 0000 4142")
    assert frames.syn_reply(3, b"AB", fin=True) == bytes.fromhex("80030002 01000006 00000003 4142")
    assert frames.rst_stream(5, frames.CANCEL) == bytes.fromhex("80030003 00000008 00000005 00000005")
    assert frames.ping(7) == bytes.fromhex("80030006 00000004 00000007")
    assert frames.goaway(9) == bytes.fromhex("80030007 00000008 00000009 00000000")


def test_frames_are_read_however_they_are_cut() -> None:
    sent = bytes.fromhex("80030006 00000004 00000007") + frames.data(1, b"hello") + frames.data(3, b"", fin=True)
    wanted = [frames.Control(6, 0, b"\0\0\0\7"), frames.Data(1, b"hello"), frames.Data(3, b"", True)]
    for size in range(1, len(sent) + 1):
        reader = frames.FrameReader()
        pieces = [sent[start : start + size] for start in range(0, len(sent), size)]
        assert [frame for piece in pieces for frame in reader.feed(piece)] == wanted


def test_a_very_long_data_frame_comes_in_pieces() -> None:
    reader, content = frames.FrameReader(), bytes(5 << 20)
    found = list(reader.feed(frames.data(1, content, fin=True)[:-1]))
    found += reader.feed(b"\0")
    assert all(isinstance(frame, frames.Data) for frame in found)
    assert b"".join(frame.data for frame in found if isinstance(frame, frames.Data)) == content
    assert [frame.fin for frame in found if isinstance(frame, frames.Data)] == [False] * (len(found) - 1) + [True]
    assert len(found) > 1


@pytest.mark.parametrize(
    ("sent", "words"),
    [
        (bytes.fromhex("80020001 00000000"), "version 2"),
        (bytes.fromhex("80030001 00ffffff"), "control frame of 16777215 bytes"),
        (b"GET / HTTP/1.1\r\n\r\n" * 2, ""),
    ],
)
def test_what_is_no_spdy_is_refused(sent: bytes, words: str) -> None:
    reader = frames.FrameReader()
    if words:
        with pytest.raises(InvalidArgument, match=words):
            list(reader.feed(sent))
    else:
        assert list(reader.feed(sent)) == [], "read as a data frame of 1.2 MiB that never ends"


def test_the_dictionary_is_that_of_the_draft() -> None:
    assert len(DICTIONARY) == 1423
    assert zlib.adler32(DICTIONARY) == 0xE3C6A7C2
    assert DICTIONARY[:11] == b"\0\0\0\7options"


def test_header_blocks_share_one_compression_state() -> None:
    encoder, decoder = HeaderEncoder(), HeaderDecoder()
    first, second = encoder.encode({"streamType": "stdin"}), encoder.encode({"streamType": "stdin", "Port": "80"})
    assert first[:6] == bytes.fromhex("78bb") + bytes.fromhex("e3c6a7c2"), "zlib with the dictionary's checksum"
    assert decoder.decode(first) == {"streamtype": "stdin"}
    assert decoder.decode(second) == {"streamtype": "stdin", "port": "80"}
    with pytest.raises(InvalidArgument):
        HeaderDecoder().decode(second)


def _block(plain: bytes) -> bytes:
    compressor = zlib.compressobj(zdict=DICTIONARY)
    return compressor.compress(plain) + compressor.flush(zlib.Z_SYNC_FLUSH)


@pytest.mark.parametrize(
    "block",
    [
        b"", b"\0\0\0\1", b"nonsense", _block(b"\0\0\0\1"), _block(b"\0\0\0\1\xff\xff\xff\xffx"), _block(b"\xff" * 8),
        _block(bytes(BLOCK_MAX + 1)), _block(b"\0\0\0\1\0\0\0\1\xff\0\0\0\0"),
    ],
)  # fmt: skip
def test_header_blocks_that_lie_are_refused(block: bytes) -> None:
    with pytest.raises(InvalidArgument, match="SPDY: header block"):
        HeaderDecoder().decode(block)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.binary(max_size=64), max_size=8))
def test_whatever_arrives_is_frames_or_an_error(pieces: list[bytes]) -> None:
    reader, decoder = frames.FrameReader(), HeaderDecoder()
    try:
        for piece in pieces:
            for frame in reader.feed(piece):
                if isinstance(frame, frames.Control):
                    decoder.decode(frame.payload)
    except InvalidArgument:
        return
