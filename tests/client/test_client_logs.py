"""Logs as a client reads them: whole lines, parts, the last so many, files that are renamed while they are read."""

from pathlib import Path

import pytest
from corten.cli.commands.logs import moment
from corten.client import logs
from corten.client.logs import Entry, LogFile
from corten.errors import InvalidArgument, NotFound
from hypothesis import given
from hypothesis import strategies as some

TIME = "2026-11-26T00:12:13.000000005Z"


@pytest.mark.parametrize(
    ("line", "entry"),
    [
        (f"{TIME} stdout F hello there\n", Entry(TIME, "stdout", b"hello there")),
        (f"{TIME} stderr P half\n", Entry(TIME, "stderr", b"half", ends=False)),
        (f"{TIME} stdout F \n", Entry(TIME, "stdout", b"")),
        (f"{TIME} stdout F\n", Entry(TIME, "stdout", b"")),
        ("as it came\n", Entry("", "stdout", b"as it came")),
        ("a stdin F b\n", Entry("", "stdout", b"a stdin F b")),
        ("no end", Entry("", "stdout", b"no end", ends=False)),
    ],
)
def test_lines(line: str, entry: Entry) -> None:
    assert logs.parse(line.encode()) == entry


@given(some.lists(some.text("ab\t ", max_size=5)), some.integers(0, 12), some.booleans())
def test_the_last_lines_are_found_from_the_end(lines: list[str], wanted: int, whole: bool) -> None:
    import tempfile

    text = "\n".join(lines) + ("\n" if whole and lines else "")
    with tempfile.NamedTemporaryFile() as file:
        file.write(text.encode())
        file.flush()
        kept = text[logs.tail_offset(file.name, wanted) :]
    assert kept == "".join(text.splitlines(keepends=True)[-wanted:] if wanted else [])


def test_the_last_lines_of_a_large_file(tmp_path: Path) -> None:
    file = tmp_path / "log"
    file.write_bytes(b"".join(b"%d %s\n" % (number, b"x" * 500) for number in range(1000)))
    offset = logs.tail_offset(str(file), 300)
    assert file.read_bytes()[offset:].startswith(b"700 ")


def test_what_is_written_while_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text(f"{TIME} stdout F one\n{TIME} stdout")
    log = LogFile(str(path))
    assert [entry.text for entry in log.entries()] == [b"one"]
    with path.open("a") as file:
        file.write(" F two\n")
    assert [entry.text for entry in log.entries()] == [b"two"]
    path.rename(tmp_path / "old")
    assert list(log.entries()) == []
    path.write_text(f"{TIME} stdout F three\nunfinished")
    assert [entry.text for entry in log.entries()] == [b"three"]
    assert [entry.text for entry in log.rest()] == [b"unfinished"]
    log.close()


def test_a_log_that_is_made_empty_is_read_from_its_start(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text("a longer line\n")
    log = LogFile(str(path))
    assert len(list(log.entries())) == 1
    path.write_text("new\n")
    assert [entry.text for entry in log.entries()] == [b"new"]
    log.close()


def test_a_missing_log_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="nosuch"):
        LogFile(str(tmp_path / "nosuch"))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1970-01-01T00:00:01Z", 1_000_000_000),
        ("1970-01-01T01:00:01.5+01:00", 1_500_000_000),
        ("1970-01-01T00:00:00.000000001Z", 1),
        ("10m", 400_000_000_000),
        ("2s", 998_000_000_000),
    ],
)
def test_times_and_spans(text: str, expected: int) -> None:
    assert moment(text, now=1000.0) == expected


@pytest.mark.parametrize("text", ["", "m", "10", "1.5h", "yesterday", "2026-11-26", "-5m", "٣m"])
def test_other_words_are_no_times(text: str) -> None:
    with pytest.raises(InvalidArgument, match="since"):
        moment(text)


def test_paths_with_odd_signs_survive_the_uri() -> None:
    from urllib.parse import unquote, urlsplit

    path = "/var/log/a b%?#/ü.log"
    assert unquote(urlsplit(logs.uri(path, joinable=True)).path) == path
    assert unquote(urlsplit(logs.uri(path, joinable=False)).path) == path
