"""The checks of differs that unpack whole stacks of layers, on plain directories and on overlays alike.

`corten.testing.diff` runs them.
"""

import os
import stat
import sys
import tarfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from corten.errors import CortenError, InvalidArgument, Unimplemented

# ruff: noqa: E402  (what is imported below exists on Linux only)
assert sys.platform != "win32"

from .snapshots import fails
from .trees import EPOCH, Layer, Stack, empty_files, layer

MARKS = 20_000
"""Opaque markers in the check of linear time; a quadratic way takes minutes."""
CAPABILITY = bytes.fromhex("0100000200040000000000000000000000000000")


def refused(stack: Stack, fill: Callable[[Layer], object], error: type[CortenError], *words: str) -> None:
    """The layer is refused with an error that names these words, and nothing is written outside."""
    raised = fails(error, stack.apply, layer(fill))
    for word in words:
        assert word in raised.message, f"{word!r} is missing in {raised.message!r}"


def _attributes(stack: Stack) -> None:
    def fill(made: Layer) -> None:
        made.directory("d", 0o1777, uid=3, gid=4, mtime=EPOCH - 5)
        made.add("d/setuid", b"x", mode=0o4755, uid=1000, gid=1001, mtime=EPOCH - 7)
        made.add("secret", mode=0o600, pax_headers={"mtime": "1600000001.123456789"})
        made.directory("setgid", 0o2775, gid=50)
        made.add("setgid/inner", mode=0o640)
        made.add("cap", mode=0o755, uid=7, pax_headers={"SCHILY.xattr.security.capability": _text(CAPABILITY)})
        made.add("attr", pax_headers={"SCHILY.xattr.user.colour": "green", "SCHILY.xattr.trusted.overlay.opaque": "y"})
        made.directory("./", 0o711, uid=9)

    stack.apply(layer(fill))
    with stack.view() as tree:
        assert _about(tree / "d") == (0o1777, 3, 4, EPOCH - 5)
        assert _about(tree / "d/setuid") == (0o4755, 1000, 1001, EPOCH - 7)
        assert (tree / "secret").stat().st_mtime_ns == 1600000001123456789
        assert _about(tree / "setgid") == (0o2775, 0, 50, EPOCH)
        assert _about(tree / "setgid/inner") == (0o640, 0, 0, EPOCH), "the entry decides, not the directory"
        assert os.getxattr(tree / "cap", "security.capability") == CAPABILITY
        assert os.getxattr(tree / "attr", "user.colour") == b"green"
        assert "trusted.overlay.opaque" not in os.listxattr(tree / "attr")
        assert _about(tree)[:2] == (0o711, 9)


def _all_kinds_of_files(stack: Stack) -> None:
    def fill(made: Layer) -> None:
        made.add("f", b"data")
        made.link("same", "f")
        made.symlink("link", "/absolute/../target")
        made.add("null", kind=tarfile.CHRTYPE, mode=0o666, devmajor=1, devminor=3)
        made.add("disk", kind=tarfile.BLKTYPE, mode=0o660, devmajor=259, devminor=70000, gid=6)
        made.add("fifo", kind=tarfile.FIFOTYPE, mode=0o622)
        made.add("no/such/parent", b"x")

    stack.apply(layer(fill))
    with stack.view() as tree:
        assert (tree / "f").samefile(tree / "same")
        assert os.readlink(tree / "link") == "/absolute/../target"
        assert (tree / "null").stat().st_rdev == os.makedev(1, 3)
        assert stat.S_IMODE((tree / "null").stat().st_mode) == 0o666
        assert (tree / "disk").stat().st_rdev == os.makedev(259, 70000)
        assert stat.S_ISFIFO((tree / "fifo").stat().st_mode)
        assert stat.S_IMODE((tree / "no/such").stat().st_mode) == 0o755


def _long_names_of_every_format(stack: Stack) -> None:
    for number, format in enumerate((tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT)):
        depth = 2 if format == tarfile.USTAR_FORMAT else 12
        name = "/".join([f"{number}"] + ["d" * 90] * depth)
        made = Layer(format)
        made.add(f"{name}/file", b"long")
        made.symlink(f"{name}/link", "t" * (90 if format == tarfile.USTAR_FORMAT else 300))
        stack.apply(made.done())
        with stack.view() as tree:
            assert (tree / name / "file").read_bytes() == b"long"
            assert len(os.readlink(tree / name / "link")) >= 90


def _later_entries_win(stack: Stack) -> None:
    def fill(made: Layer) -> None:
        made.add("x", b"file")
        made.directory("x")
        made.add("x/inner", b"1")
        made.add("x/inner", b"2")
        made.directory("y")
        made.add("y/gone")
        made.symlink("y", "x")

    stack.apply(layer(fill))
    assert stack.names() == ["x", "x/inner", "y"]
    with stack.view() as tree:
        assert (tree / "y/inner").read_bytes() == b"2"


def _layers_change_what_is_below(stack: Stack) -> None:
    def base(made: Layer) -> None:
        made.directory("d", 0o700, uid=5, mtime=EPOCH - 9)
        made.add("d/a", b"1")
        made.add("d/b", b"1")
        made.add("swap")
        made.directory("tree")
        made.add("tree/x")

    def top(made: Layer) -> None:
        made.add("d/a", b"2")
        made.directory("swap")
        made.add("swap/in")
        made.add("tree", b"now a file")

    stack.apply(layer(base))
    stack.apply(layer(top))
    assert stack.names() == ["d", "d/a", "d/b", "swap", "swap/in", "tree"]
    with stack.view() as tree:
        assert (tree / "d/a").read_bytes() == b"2"
        assert _about(tree / "d")[:2] == (0o700, 5), "a directory without an entry stays as it was"


def _whiteouts_remove(stack: Stack) -> None:
    def base(made: Layer) -> None:
        for name in ("a", "d/x", "d/y", "e/z/deep", "kept"):
            made.add(name)

    def top(made: Layer) -> None:
        for name in (".wh.a", "d/.wh.x", "e/.wh.z", ".wh.never-there", "nowhere/.wh.x"):
            made.add(name)
        made.add("d/new")

    stack.apply(layer(base))
    stack.apply(layer(top))
    assert stack.names() == ["d", "d/new", "d/y", "e", "kept", "nowhere"]


def _whiteouts_spare_their_own_layer(stack: Stack) -> None:
    def base(made: Layer) -> None:
        for name in ("before/old", "after/old", "file", "again/old"):
            made.add(name)

    def top(made: Layer) -> None:
        made.add("before/new")
        made.add(".wh.before")
        made.add(".wh.after")
        made.add("after/new")
        made.add("file", b"2")
        made.add(".wh.file")
        made.add(".wh.again")
        made.directory("again")

    stack.apply(layer(base))
    stack.apply(layer(top))
    assert stack.names() == ["after", "after/new", "again", "before", "before/new", "file"]


def _opaque_directories(stack: Stack) -> None:
    def base(made: Layer) -> None:
        for name in ("first/old", "last/old", "deep/in/old", "deep/old", "other/kept", "wh/x", "wh/y"):
            made.add(name)

    def top(made: Layer) -> None:
        made.directory("first")
        made.add("first/.wh..wh..opq")
        made.add("first/new")
        made.add("last/new")
        made.add("last/.wh..wh..opq")
        made.add("deep/in/new")
        made.add("deep/in/.wh..wh..opq")
        made.add("deep/in/.wh.old")
        made.add("deep/.wh..wh..opq")
        made.add("wh/.wh.x")
        made.add("wh/.wh..wh..opq")

    stack.apply(layer(base))
    stack.apply(layer(top))
    assert stack.names() == [
        *("deep", "deep/in", "deep/in/new", "first", "first/new", "last", "last/new"),
        *("other", "other/kept", "wh"),
    ]


def _an_opaque_root(stack: Stack) -> None:
    stack.apply(layer(empty_files("a", "d/x", "e/x")))
    stack.apply(layer(empty_files("d/new", ".wh..wh..opq", "e/new")))
    assert stack.names() == ["d", "d/new", "e", "e/new"]


def _many_opaque_markers_take_linear_time(stack: Stack) -> None:
    stack.apply(layer(empty_files(*(f"d/{n % 50}/f{n}" for n in range(500)))))

    def top(made: Layer) -> None:
        for number in range(MARKS):
            made.add(f"d/{number % 50}/n{number % 500}")
            made.add(f"d/{number % 50}/.wh..wh..opq")
            made.add("d/.wh..wh..opq")

    data = layer(top)
    started = time.process_time(), time.monotonic()
    stack.apply(data)
    assert time.monotonic() - started[1] < 60
    assert len([name for name in stack.names() if name.count("/") == 2]) == 500


def _linked_parents_are_followed_inside(stack: Stack) -> None:
    def base(made: Layer) -> None:
        made.directory("usr/lib")
        made.add("usr/lib/old")
        made.symlink("lib", "usr/lib")
        made.directory("run")
        made.symlink("usr/absolute", "/run")
        made.symlink("usr/lib/up", "../../run")

    def top(made: Layer) -> None:
        made.add("lib/new", b"1")
        made.add("lib/.wh.old")
        made.add("usr/absolute/one")
        made.add("lib/up/two")

    stack.apply(layer(base))
    stack.apply(layer(top))
    assert stack.names() == [
        *("lib", "run", "run/one", "run/two", "usr", "usr/absolute", "usr/lib", "usr/lib/new", "usr/lib/up")
    ]


def _hard_links_to_lower_layers(stack: Stack) -> None:
    stack.apply(layer(lambda made: made.add("d/f", b"below", mode=0o640, uid=3)))
    stack.apply(layer(lambda made: made.link("g", "d/f")))
    with stack.view() as tree:
        assert (tree / "g").samefile(tree / "d/f")
        assert (tree / "g").read_bytes() == b"below"
        assert _about(tree / "g")[:2] == (0o640, 3)


def _names_that_lead_out_are_refused(stack: Stack) -> None:
    stack.apply(layer(lambda made: made.add("f")))
    refused(stack, lambda made: made.add("../out"), InvalidArgument, "../out")
    refused(stack, lambda made: made.add("d/../../out"), InvalidArgument, "d/../../out")
    refused(stack, lambda made: made.add("/etc/out"), InvalidArgument, "/etc/out")
    refused(stack, lambda made: made.add("d/.wh..."), InvalidArgument, ".wh...")
    refused(stack, lambda made: made.add(".wh."), InvalidArgument)
    refused(stack, lambda made: made.add("n" * 300), InvalidArgument, "nnn")
    refused(stack, lambda made: made.add("d/" * 3000 + "f"), InvalidArgument)
    assert not list(stack.root.parent.glob("out*")) and not Path("/etc/out").exists()


def _links_that_lead_out_are_refused(stack: Stack) -> None:
    outside = stack.root.parent / "outside"
    outside.mkdir()
    (outside / "victim").write_text("untouched")
    up = "../" * 30

    def through(made: Layer) -> None:
        made.symlink("evil", f"{up}{outside}"[:-1] + "e")
        made.add("evil/victim", b"overwritten")

    def absolute(made: Layer) -> None:
        made.symlink("abs", str(outside))
        made.add("abs/victim", b"inside the root")

    def chmod(made: Layer) -> None:
        made.symlink("victim", str(outside / "victim"))
        made.directory("victim", 0o777)

    def loop(made: Layer) -> None:
        made.symlink("loop", "loop")
        made.add("loop/f")

    refused(stack, through, InvalidArgument, "evil/victim")
    refused(stack, lambda made: made.link("stolen", f"{up}etc/passwd"), InvalidArgument, "stolen")
    refused(stack, lambda made: made.link("stolen", "/etc/passwd"), InvalidArgument, "stolen")
    refused(stack, lambda made: made.link("stolen", "not/there"), InvalidArgument, "not/there")
    refused(stack, loop, InvalidArgument, "loop/f")
    stack.apply(layer(absolute))
    stack.apply(layer(chmod))
    assert (outside / "victim").read_text() == "untouched"
    assert stat.S_IMODE((outside / "victim").stat().st_mode) & 0o022 == 0


def _malformed_entries_are_refused(stack: Stack) -> None:
    def device(made: Layer) -> None:
        made.add("dev", kind=tarfile.CHRTYPE, devmajor=0o7777, devminor=0o7777777 + 0)

    refused(stack, lambda made: made.add("a", kind=tarfile.CHRTYPE, devmajor=0, devminor=0), InvalidArgument, "'a'")
    refused(stack, lambda made: made.add("b", kind=tarfile.CHRTYPE, devmajor=5000, devminor=1), InvalidArgument, "'b'")
    refused(stack, device, InvalidArgument, "'dev'")
    refused(stack, lambda made: made.symlink("c", ""), InvalidArgument, "'c'")
    refused(stack, lambda made: made.add("d", pax_headers={"comment": "x" * (2 << 20)}), InvalidArgument, "header")
    refused(stack, lambda made: made.add("e", kind=b"V"), Unimplemented, "'e'")
    refused(stack, empty_files("f", "f/under"), InvalidArgument, "f/under")


def _aufs_metadata_is_skipped(stack: Stack) -> None:
    def fill(made: Layer) -> None:
        made.directory(".wh..wh.plnk", 0o700)
        made.add(".wh..wh.plnk/123.456", b"x")
        made.add(".wh..wh.aufs")
        made.add("f")

    stack.apply(layer(fill))
    assert stack.names() == ["f"]


def _about(path: Path) -> tuple[int, int, int, int]:
    found = path.stat()
    return stat.S_IMODE(found.st_mode), found.st_uid, found.st_gid, int(found.st_mtime)


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


STACKS: Sequence[Callable[[Stack], None]] = (
    _attributes,
    _all_kinds_of_files,
    _long_names_of_every_format,
    _later_entries_win,
    _layers_change_what_is_below,
    _whiteouts_remove,
    _whiteouts_spare_their_own_layer,
    _opaque_directories,
    _an_opaque_root,
    _many_opaque_markers_take_linear_time,
    _linked_parents_are_followed_inside,
    _hard_links_to_lower_layers,
    _names_that_lead_out_are_refused,
    _links_that_lead_out_are_refused,
    _malformed_entries_are_refused,
    _aufs_metadata_is_skipped,
)
