"""The kubelet's log format, line by line; no I/O."""

import random

import pytest
from corten_runtimes.shim.lines import LINE_MAX, Lines
from runtimes.logs import content, parsed


@pytest.mark.parametrize(
    ("pieces", "expected"),
    [
        ([b"one\ntwo\n"], [("F", b"one"), ("F", b"two")]),
        ([b"on", b"e\ntw", b"o\n"], [("F", b"one"), ("F", b"two")]),
        ([b"\n\n"], [("F", b""), ("F", b"")]),
        ([b"no end"], [("P", b"no end")]),
        ([b"a\r\nb\rc\r\n"], [("F", b"a"), ("F", b"b\rc")]),
        ([b"a\r", b"\n"], [("F", b"a")]),
        ([b"12345678\n"], [("F", b"12345678")]),
        ([b"12345678", b"\n"], [("F", b"12345678")]),
        ([b"12345678\r", b"\n"], [("F", b"12345678")]),
        ([b"123456789\n"], [("P", b"12345678"), ("F", b"9")]),
        ([b"123456789"], [("P", b"12345678"), ("P", b"9")]),
        ([b"1234567812345678\nx\n"], [("P", b"12345678"), ("F", b"12345678"), ("F", b"x")]),
        ([b"\xff\x00\n"], [("F", b"\xff\x00")]),
        ([], []),
    ],
)
def test_lines_of_at_most_eight_bytes(pieces: list[bytes], expected: list[tuple[str, bytes]]) -> None:
    lines = Lines("stdout", 8)
    log = b"".join([*map(lines.feed, pieces), lines.end()])
    assert [(line.tag, line.words) for line in parsed(log)] == expected


def test_any_output_in_any_pieces_is_whole_and_no_line_too_long() -> None:
    chance = random.Random(4)
    for limit in (1, 7, 100, 0):
        output = bytes(chance.choice(b"ab\n" if chance.random() < 0.3 else b"xyz") for _ in range(5000))
        lines, log, start = Lines("stderr", limit), b"", 0
        while start < len(output):
            size = chance.randrange(1, 300)
            log += lines.feed(output[start : start + size])
            start += size
        log += lines.end()
        assert content(log, "stderr") == output
        assert not limit or max(len(line.words) for line in parsed(log)) <= limit


def test_a_line_without_bound_is_not_held_in_memory_for_ever() -> None:
    lines = Lines("stdout", 0)
    log = b"".join(lines.feed(bytes(1 << 20)) for _ in range((LINE_MAX >> 20) + 1))
    assert [line.tag for line in parsed(log)] == ["P"]
