"""Sizes, ages, signals, mounts and tables, in words and out of them."""

import pytest
from corten.cli import words
from corten.cli.commands.plugins import in_words
from corten.cli.commands.run import made_up_name
from corten.cli.commands.snapshots import drawn
from corten.cli.output import aligned, printable
from corten.contracts.snapshots import SnapshotInfo
from corten.errors import InvalidArgument
from corten.identifiers import validate
from corten.oci.options import SpecMount
from corten.plugin.drawing import Drawn
from corten.plugin.model import State
from hypothesis import given
from hypothesis import strategies as st


@pytest.mark.parametrize(
    ("text", "size"),
    [("0", 0), ("4096", 4096), ("512m", 512 << 20), ("1.5GiB", 3 << 29), ("2K", 2048), ("1tb", 1 << 40), ("7 b", 7)],
)
def test_size(text: str, size: int) -> None:
    assert words.size(text) == size


@pytest.mark.parametrize("text", ["", "m", "-1", "1x", "1e9", "٣"])
def test_bad_size(text: str) -> None:
    with pytest.raises(InvalidArgument, match="512m"):
        words.size(text)


def test_shown() -> None:
    assert (
        words.shown_size(0) == "0 B" and words.shown_size(1536) == "1.5 KiB" and words.shown_size(5 << 40) == "5.0 TiB"
    )
    now = 1_000_000.0
    assert words.age(0) == "-"
    assert words.age(int((now - 1) * 1e9), now) == "1 second ago"
    assert words.age(int((now - 7200) * 1e9), now) == "2 hours ago"
    assert words.age(int((now + 60) * 1e9), now) == "0 seconds ago"


def test_signals() -> None:
    assert [words.signal_number(text) for text in ("9", "kill", "SIGKILL", "sigterm")] == [9, 9, 9, 15]
    assert words.signal_number("SIGRTMIN+3") == 37
    for bad in ("0", "99", "", "FOO", "RTMIN+99", "RTMIN+x", "TERM+1", "RTMIN+-1"):
        with pytest.raises(InvalidArgument):
            words.signal_number(bad)


@pytest.mark.parametrize(
    ("text", "mount"),
    [
        ("type=bind,src=/a,dst=/b,options=rbind:ro", SpecMount("/b", "/a", "bind", ("rbind", "ro"))),
        ("src=/a,target=/b", SpecMount("/b", "/a", "bind", ("rbind",))),
        ("source=/a,destination=/b,readonly", SpecMount("/b", "/a", "bind", ("rbind", "ro"))),
        ("type=tmpfs,dst=/b,options=size=1m:noexec", SpecMount("/b", "tmpfs", "tmpfs", ("size=1m", "noexec"))),
    ],
)
def test_mount(text: str, mount: SpecMount) -> None:
    assert words.mount(text) == mount


@pytest.mark.parametrize("text", ["", "src=/a", "src=/a,dst=/b,colour=red", "src=/a,dst=/b,ro=maybe"])
def test_bad_mount(text: str) -> None:
    with pytest.raises(InvalidArgument, match="type=bind"):
        words.mount(text)


def test_tables_line_up_and_cannot_steer_the_terminal() -> None:
    assert aligned([["A", "B"], ["long", "x"]]) == ["A     B", "long  x"]
    assert "\x1b" not in printable("\x1b[31mred\r\n")


@given(st.text(max_size=300))
def test_made_up_names_are_names(image: str) -> None:
    validate(made_up_name(image))


def test_snapshots_are_drawn_below_their_parents() -> None:
    found = [
        SnapshotInfo("a"),
        SnapshotInfo("b", parent="a"),
        SnapshotInfo("c", parent="b"),
        SnapshotInfo("x", parent="?"),
    ]
    assert drawn(found) == ["a", "  b", "    c", "x"]


def test_plugins_are_named_after_what_they_need() -> None:
    plugins = [Drawn("b", State.ERROR, ("a",)), Drawn("a", State.OK, ())]
    assert in_words(plugins) == ["a (ok)", "b (error)", "  needs a"]
