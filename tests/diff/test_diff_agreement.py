"""The differ beside GNU tar and umoci: what one makes the others read, and all make the same trees."""

import gzip
import json
import os
import random
import stat
import subprocess
from pathlib import Path

import images
import pytest
from corten.contracts.mounts import Mount
from corten.errors import InvalidArgument
from corten.testing.memory_content import MemoryContent
from corten.testing.trees import GZIP, PLAIN, Layer, Stack, describe, layer, stored
from corten_differs.walking import WalkingDiffer

pytestmark = pytest.mark.integration


def some_tree(root: Path, seed: int) -> Path:
    """A tree with something of everything."""
    chance = random.Random(seed)
    root.mkdir()
    folders = [root]
    for number in range(40):
        path = chance.choice(folders) / f"{number}{'ä' * chance.randrange(60) if number % 9 == 0 else ''}"
        match number % 8:
            case 0 | 1:
                path.mkdir()
                folders.append(path)
            case 2:
                path.symlink_to("t" * chance.randrange(1, 200))
            case 3:
                os.mknod(path, stat.S_IFCHR | 0o640, os.makedev(1, number))
            case 4:
                os.mkfifo(path)
            case _:
                path.write_bytes(chance.randbytes(chance.choice([0, 1, 511, 512, 513, 70_000])))
                os.setxattr(path, "user.number", str(number).encode())
        if number % 5 == 0 and path.is_file():
            (root / f"link{number}").hardlink_to(path)
    for path in sorted(root.rglob("*")):
        os.chown(path, chance.randrange(70_000), chance.choice([0, 5, 3_000_000]), follow_symlinks=False)
        if not path.is_symlink():
            path.chmod(chance.choice([0o755, 0o600, 0o4711, 0o2770, 0o1777]))
    for path in sorted(root.rglob("*"), reverse=True):
        os.utime(path, (1_500_000_000, chance.randrange(1, 1_700_000_000)), follow_symlinks=False)
    return root


def layers_of(layout: Path, tag: str) -> list[bytes]:
    """The layers of an image in an OCI layout."""

    def blob(digest: str) -> bytes:
        return (Path(layout) / "blobs" / digest.replace(":", "/")).read_bytes()

    index = json.loads((Path(layout) / "index.json").read_bytes())
    name = "org.opencontainers.image.ref.name"
    target = next(each["digest"] for each in index["manifests"] if each["annotations"][name] == tag)
    return [blob(each["digest"]) for each in json.loads(blob(target))["layers"]]


def bind(path: Path, word: str = "rw") -> list[Mount]:
    return [Mount("bind", str(path), options=(word, "rbind"))]


@pytest.mark.parametrize("options", [["--format=pax"], ["--format=gnu"], ["--format=pax", "--sparse"]])
def test_archives_of_gnu_tar_are_unpacked(
    options: list[str], differ: WalkingDiffer, memory_backed: Path, tmp_path: Path
) -> None:
    source = some_tree(memory_backed / "source", 1)
    xattrs = ["--xattrs", "--xattrs-include=*"] if "pax" in options[0] else []
    argv = ["tar", *options, *xattrs, "--numeric-owner", "-C", str(source), "-cf", str(tmp_path / "a.tar"), "."]
    subprocess.run(argv, check=True)
    content = MemoryContent()
    target = memory_backed / "target"
    target.mkdir()
    differ.apply(stored(content, (tmp_path / "a.tar").read_bytes()), bind(target), content)
    wanted = describe(source, directory_times=True)
    if not xattrs:
        wanted = {name: (*about[:-1], ()) for name, about in wanted.items()}
    assert describe(target, directory_times=True) == wanted


def test_an_archive_that_ends_with_the_last_byte_of_a_file(
    differ: WalkingDiffer, memory_backed: Path, tmp_path: Path
) -> None:
    """`umoci insert` never closes its archive: the last block is not filled up, and no zero blocks follow."""
    (tmp_path / "file").write_bytes(b"x" * 700)
    layout = images.write_layout(tmp_path / "layout")
    argv = ["umoci", "insert", "--image", f"{layout}:latest", "--tag", "more", str(tmp_path / "file"), "/inserted"]
    subprocess.run(argv, check=True, capture_output=True)
    blob = layers_of(layout, "more")[-1]
    assert len(gzip.decompress(blob)) % 512
    content = MemoryContent()
    differ.apply(stored(content, blob, GZIP), bind(memory_backed), content)
    assert (memory_backed / "inserted").read_bytes() == b"x" * 700
    cut = gzip.compress(gzip.decompress(blob)[:-1])
    with pytest.raises(InvalidArgument, match="'inserted': the archive is truncated"):
        differ.apply(stored(content, cut, GZIP), bind(memory_backed), content)


@pytest.mark.parametrize("format", ["gnu", "pax", "pax --sparse-version=0.0", "pax --sparse-version=0.1"])
def test_sparse_files_of_gnu_tar(format: str, differ: WalkingDiffer, memory_backed: Path, tmp_path: Path) -> None:
    source = memory_backed / "source"
    source.mkdir()
    with (source / "holes").open("wb") as file:
        for number in range(40):
            file.seek(number * 1_000_000)
            file.write(os.urandom(5000))
        file.truncate(60_000_000)
    (source / "after").write_text("still in step")
    argv = ["tar", *f"--format={format}".split(), "--sparse", "-C", str(source), "-cf", str(tmp_path / "a.tar"), "."]
    subprocess.run(argv, check=True)
    assert (tmp_path / "a.tar").stat().st_size < 2_000_000
    content = MemoryContent()
    target = memory_backed / "target"
    target.mkdir()
    differ.apply(stored(content, (tmp_path / "a.tar").read_bytes()), bind(target), content)
    assert describe(target) == describe(source)
    assert (target / "holes").stat().st_blocks * 512 < 2_000_000


def test_gnu_tar_unpacks_what_compare_makes(differ: WalkingDiffer, memory_backed: Path, tmp_path: Path) -> None:
    source = some_tree(memory_backed / "source", 2)
    content = MemoryContent()
    made = differ.compare([], bind(source, "ro"), content, media_type=PLAIN)
    with content.reader(made.digest) as reader:
        (tmp_path / "a.tar").write_bytes(reader.read_at(0, made.size))
    target = memory_backed / "target"
    target.mkdir()
    argv = [
        "tar",
        "--xattrs",
        "--xattrs-include=*",
        "--numeric-owner",
        "-C",
        str(target),
        "-xpf",
        str(tmp_path / "a.tar"),
    ]
    subprocess.run(argv, check=True, stderr=subprocess.PIPE)
    assert describe(target) == describe(source)


@pytest.mark.parametrize("seed", range(4))
def test_the_difference_of_any_two_trees_makes_one_the_other(
    seed: int, differ: WalkingDiffer, memory_backed: Path
) -> None:
    content = MemoryContent()
    first, second = some_tree(memory_backed / "first", seed), some_tree(memory_backed / "second", seed + 10)
    made = differ.compare(bind(first, "ro"), bind(second, "ro"), content)
    again = differ.compare(bind(first, "ro"), bind(second, "ro"), content)
    assert made == again
    differ.apply(made, bind(first), content)
    assert describe(first) == describe(second)


@pytest.mark.parametrize("overlay", [False, True])
def test_umoci_makes_the_same_tree(overlay: bool, differ: WalkingDiffer, memory_backed: Path, tmp_path: Path) -> None:
    layout = images.write_layout(tmp_path / "layout")
    argv = ["umoci", "unpack", "--image", f"{layout}:latest", str(memory_backed / "bundle")]
    subprocess.run(argv, check=True, stderr=subprocess.PIPE)
    stack = Stack(differ, MemoryContent(), memory_backed / "stack", overlay)
    for fill in images.FIVE:
        stack.apply(images.tar_of(fill))
    with stack.view() as tree:
        ours, theirs = describe(tree), describe(memory_backed / "bundle" / "rootfs")
    assert set(ours) == set(theirs)
    assert {name: about for name, about in ours.items() if name != "."} == {
        name: about for name, about in theirs.items() if name != "."
    }


def test_what_a_container_changed_comes_back(differ: WalkingDiffer, memory_backed: Path) -> None:
    """An upper directory that the kernel made, with its own marks, renames and copies."""
    content = MemoryContent()
    stack = Stack(differ, content, memory_backed / "stack", overlay=True)

    def base(made: Layer) -> None:
        for name in ("d/a", "d/b", "moved/x/y", "again/old", "linked", "touched", "mode"):
            made.add(name, name.encode())

    stack.apply(layer(base))
    mounts = stack.next_mounts()
    from corten.linux.mount import temporary_mount

    with temporary_mount(mounts) as tree:
        (tree / "d/a").unlink()
        (tree / "d/b").write_text("changed")
        subprocess.run(["mv", tree / "moved", tree / "here"], check=True)
        subprocess.run(["rm", "-r", tree / "again"], check=True)
        (tree / "again").mkdir()
        (tree / "again/new").touch()
        (tree / "second").hardlink_to(tree / "linked")
        os.utime(tree / "touched")
        (tree / "mode").chmod(0o700)
        (tree / "new").mkdir()
    with stack.view() as tree:
        wanted = describe(tree)
    lower = bind(stack.uppers[0], "ro")
    made = differ.compare(lower, mounts, content, media_type=PLAIN)
    assert made == differ.compare(lower, stack.view_mounts(), content, media_type=PLAIN)
    again = Stack(differ, content, memory_backed / "again", overlay=True)
    again.apply(layer(base))
    differ.apply(made, again.next_mounts(), content)
    with again.view() as tree:
        assert describe(tree) == wanted
