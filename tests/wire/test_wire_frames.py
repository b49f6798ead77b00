"""The ttrpc frame codec: any frames in any pieces, and garbage."""

import pytest
from corten.errors import InvalidArgument, ResourceExhausted
from corten.wire.ttrpc.frames import HEADER, MAX_DATA, Decoder, Frame, Oversized, encode
from hypothesis import given
from hypothesis import strategies as st

FRAME = st.builds(Frame, st.integers(0, 2**32 - 1), st.integers(0, 255), st.integers(0, 255), st.binary(max_size=300))


def test_a_frame_is_laid_out_as_the_protocol_says() -> None:
    assert encode(3, 1, b"ab", 2) == b"\x00\x00\x00\x02" + b"\x00\x00\x00\x03" + b"\x01\x02" + b"ab"


@given(frames=st.lists(FRAME, max_size=8), cuts=st.lists(st.integers(1, 50), min_size=1, max_size=20))
def test_frames_survive_any_cutting(frames: list[Frame], cuts: list[int]) -> None:
    data = b"".join(encode(frame.stream, frame.kind, frame.data, frame.flags) for frame in frames)
    decoder, found, at, turn = Decoder(), [], 0, 0
    while at < len(data):
        step = cuts[turn % len(cuts)]
        found += decoder.feed(data[at : at + step])
        at, turn = at + step, turn + 1
    assert found == frames
    assert decoder.idle


@given(st.binary(max_size=400))
def test_garbage_is_decoded_or_refused(garbage: bytes) -> None:
    try:
        for event in Decoder().feed(garbage):
            assert isinstance(event, Frame | Oversized)
    except InvalidArgument as error:
        assert "does not speak ttrpc" in error.message


def test_oversized_frame_is_skipped_in_pieces() -> None:
    decoder = Decoder()
    assert decoder.feed(HEADER.pack(MAX_DATA + 5, 7, 1, 0)) == [Oversized(7, MAX_DATA + 5)]
    for _ in range(4):
        assert decoder.feed(bytes(MAX_DATA // 4)) == []
    assert decoder.feed(bytes(5) + encode(9, 1, b"next")) == [Frame(9, 1, 0, b"next")]
    assert decoder.idle


def test_the_largest_frame_passes_and_one_byte_more_is_not_sent() -> None:
    assert Decoder().feed(encode(1, 1, bytes(MAX_DATA))) == [Frame(1, 1, 0, bytes(MAX_DATA))]
    with pytest.raises(ResourceExhausted):
        encode(1, 1, bytes(MAX_DATA + 1))
