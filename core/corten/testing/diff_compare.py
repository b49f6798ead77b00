"""The checks of differs that make layers: what they make turns one tree into the other, and is always the same.

`corten.testing.diff` runs them.
"""

import os
import sys
import tarfile
from collections.abc import Callable, Sequence
from pathlib import Path

from corten.contracts.content import ContentStore
from corten.contracts.diff import Differ
from corten.contracts.mounts import Mount

# ruff: noqa: E402  (what is imported below exists on Linux only)
assert sys.platform != "win32"

from .trees import EPOCH, GZIP, PLAIN, ZSTD, Layer, Stack, describe, layer


def _base_and_changed(stack: Stack) -> None:
    """Two layers whose difference has something of everything."""

    def base(made: Layer) -> None:
        made.directory("d", mtime=EPOCH)
        for name in ("d/same", "d/changed", "d/gone", "d/chmod", "gone/deep/f", "opaque/old", "kind", "linked"):
            made.add(name, b"1")
        made.link("linked2", "linked")
        made.symlink("s", "one")

    def top(made: Layer) -> None:
        made.add("d/changed", b"2")
        made.add("d/.wh.gone")
        made.add("d/chmod", b"1", mode=0o755)
        made.add(".wh.gone")
        made.add("opaque/.wh..wh..opq")
        made.add("opaque/new", b"n", uid=1)
        made.directory("kind")
        made.symlink("s", "two")
        made.add("a" * 120, b"long name", gid=3_000_000)
        made.add("ünïcode", pax_headers={"SCHILY.xattr.user.colour": "green"})
        made.link("third", "ünïcode")
        made.add("fifo", kind=tarfile.FIFOTYPE, mode=0o600)
        made.add("null", kind=tarfile.CHRTYPE, mode=0o666, devmajor=1, devminor=3)

    stack.apply(layer(base))
    stack.apply(layer(top))


def _the_difference_makes_the_tree(differ: Differ, content: ContentStore, work: Path) -> None:
    stack = Stack(differ, content, work / "stack", overlay=True)
    _base_and_changed(stack)
    with stack.view() as tree:
        wanted = describe(tree)
    lower = [Mount("bind", str(stack.uppers[0]), options=("ro", "rbind"))]
    for number, media_type in enumerate(("", PLAIN, GZIP, ZSTD)):
        made = differ.compare(lower, stack.view_mounts(), content, media_type=media_type)
        assert made.media_type == (media_type or GZIP)
        assert content.info(made.digest).size == made.size
        again = Stack(differ, content, work / f"again{number}", overlay=bool(number % 2))
        again.apply(_blob(content, differ, stack, work / f"base{number}"))
        result = differ.apply(made, again.next_mounts(), content)
        assert content.info(made.digest).labels.get("containerd.io/uncompressed", result.digest) == result.digest
        with again.view() as tree:
            assert describe(tree) == wanted


def _blob(content: ContentStore, differ: Differ, stack: Stack, work: Path) -> bytes:
    """The base layer of a stack, made by comparing it with nothing."""
    whole = [Mount("bind", str(stack.uppers[0]), options=("ro", "rbind"))]
    made = differ.compare([], whole, content, media_type=PLAIN)
    with content.reader(made.digest) as reader:
        return reader.read_at(0, made.size)


def _the_same_trees_give_the_same_bytes(differ: Differ, content: ContentStore, work: Path) -> None:
    stack = Stack(differ, content, work / "stack", overlay=True)
    _base_and_changed(stack)
    lower = [Mount("bind", str(stack.uppers[0]), options=("ro", "rbind"))]
    words = (f"workdir={work}/w", f"upperdir={stack.uppers[1]}", f"lowerdir={stack.uppers[0]}")
    (work / "w").mkdir()
    by_upper = differ.compare(lower, [Mount("overlay", "overlay", options=words)], content)
    by_walk = differ.compare(lower, stack.view_mounts(), content)
    assert by_upper == by_walk == differ.compare(lower, stack.view_mounts(), content, ref="again")


def _no_difference_is_an_empty_archive(differ: Differ, content: ContentStore, work: Path) -> None:
    (work / "f").write_text("x")
    mounts = [Mount("bind", str(work), options=("ro", "rbind"))]
    made = differ.compare(mounts, mounts, content, media_type=PLAIN, labels={"mine": "yes"})
    with content.reader(made.digest) as reader:
        assert not reader.read_at(0, made.size).strip(b"\0")
    empty = differ.compare([], [], content, media_type=PLAIN)
    assert empty.digest == made.digest, "no mounts are an empty tree"


def _times_are_capped(differ: Differ, content: ContentStore, work: Path) -> None:
    (work / "new").write_text("x")
    (work / "old").write_text("x")
    os.utime(work / "old", (5, 5))
    mounts = [Mount("bind", str(work), options=("ro", "rbind"))]
    made = differ.compare([], mounts, content, media_type=PLAIN, source_date_epoch=EPOCH)
    target = work.parent / f"{work.name}-target"
    target.mkdir()
    differ.apply(made, [Mount("bind", str(target), options=("rw",))], content)
    assert (int((target / "new").stat().st_mtime), int((target / "old").stat().st_mtime)) == (EPOCH, 5)
    for path in target.iterdir():
        path.unlink()
    target.rmdir()


COMPARE: Sequence[Callable[[Differ, ContentStore, Path], None]] = (
    _the_difference_makes_the_tree,
    _the_same_trees_give_the_same_bytes,
    _no_difference_is_an_empty_archive,
    _times_are_capped,
)
