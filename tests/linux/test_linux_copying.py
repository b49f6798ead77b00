"""Copying below a root that is not to be trusted: nothing is read or written outside it."""

import os
import stat
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from corten.errors import AlreadyExists, InvalidArgument, NotFound
from corten.linux.copying import Copy, destination, inside


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Path]:
    (tmp_path / "root").mkdir()
    (tmp_path / "out").mkdir()
    (tmp_path / "secret").write_text("secret")
    yield tmp_path


def copy(
    here: Path, source: str, target: str, *, into: bool = False, owner: tuple[int, int] | None = None
) -> list[str]:
    """From below `root` to below `out`, or the other way; what was passed over."""
    passed: list[str] = []
    with ExitStack() as stack:
        roots = [os.open(here / name, os.O_RDONLY) for name in (("out", "root") if into else ("root", "out"))]
        for fd in roots:
            stack.callback(os.close, fd)
        parent, name = inside(roots[0], source)
        stack.callback(os.close, parent)
        folder, new = destination(roots[1], target, name)
        stack.callback(os.close, folder)
        Copy(owner or (os.geteuid(), os.getegid()), passed.append).tree(parent, name, folder, new)
    return passed


def test_a_tree_with_modes_times_and_links(here: Path) -> None:
    tree = here / "root/etc"
    (tree / "sub").mkdir(parents=True)
    (tree / "sub/file").write_text("text")
    (tree / "sub/file").chmod(0o640)
    os.utime(tree / "sub/file", (1, 2))
    (tree / "link").symlink_to("../../secret")
    os.mkfifo(tree / "fifo")
    assert copy(here, "/etc", "/") == ["fifo"]
    made = here / "out/etc"
    found = (made / "sub/file").stat()
    assert ((made / "sub/file").read_text(), stat.S_IMODE(found.st_mode), found.st_mtime) == ("text", 0o640, 2)
    assert (made / "link").readlink() == Path("../../secret")
    assert sorted(os.listdir(made)) == ["link", "sub"]


def test_a_link_on_the_way_leads_nowhere_but_inside(here: Path) -> None:
    (here / "root/evil").symlink_to(here)
    with pytest.raises(FileNotFoundError):
        copy(here, "/evil/secret", "/")
    (here / "root/file").write_text("mine")
    (here / "root/abs").symlink_to("/")
    copy(here, "/abs/file", "/")
    assert (here / "out/file").read_text() == "mine"


def test_a_link_at_the_target_is_replaced_not_followed(here: Path) -> None:
    (here / "out/new").write_text("new")
    (here / "root/new").symlink_to(here / "secret")
    copy(here, "new", "/", into=True)
    assert (here / "secret").read_text() == "secret"
    assert (here / "root/new").read_text() == "new" and not (here / "root/new").is_symlink()


def test_a_linked_directory_in_the_way_is_no_directory(here: Path) -> None:
    (here / "out/d").mkdir()
    (here / "out/d/f").write_text("x")
    (here / "root/t").mkdir()
    (here / "root/t/d").symlink_to(here)
    with pytest.raises(AlreadyExists, match="no directory"):
        copy(here, "d", "/t", into=True)
    assert not (here / "f").exists()


def test_names_for_the_copy(here: Path) -> None:
    (here / "root/a").write_text("a")
    copy(here, "a", "b")
    assert (here / "out/b").read_text() == "a"
    with pytest.raises(InvalidArgument, match="no such directory"):
        copy(here, "a", "nosuch/")
    with pytest.raises(NotFound, match="no directory 'nosuch/deep'"):
        copy(here, "a", "nosuch/deep/b")
    (here / "out/dir").mkdir()
    copy(here, "a", "dir")
    assert (here / "out/dir/a").read_text() == "a"
    with pytest.raises(FileNotFoundError):
        copy(here, "nosuch", "/")


def test_a_directory_gives_way_to_no_file(here: Path) -> None:
    (here / "root/a").write_text("a")
    (here / "out/a").mkdir()
    with pytest.raises(AlreadyExists, match="directory"):
        copy(here, "a", "/")


def test_all_of_a_root(here: Path) -> None:
    (here / "root/a").write_text("a")
    copy(here, "/", "/")
    assert (here / "out/a").read_text() == "a"
