"""An unmodified ctr pulls, lists, checks, tags and removes images."""

import os
import shlex
import subprocess
from pathlib import Path

import pytest
from peers import Ctr

pytestmark = pytest.mark.integration


def test_pull_unpacks_five_layers_in_order(ctr: Ctr, pulled: str) -> None:
    out = ctr("run", "--rm", pulled, "look", "sh", "-c", "cd /data; ls; cat changed; ls opaque; cat hard2 deep/er/file")
    names, contents = out.split()[:10], out.split()[10:]
    assert names == ["attr", "changed", "deep", "fifo", "hard1", "hard2", "kept", "opaque", "owned", "soft"]
    assert contents == ["secondnew", "harddeep"]


def test_links_owners_modes_and_attributes_survive(ctr: Ctr, pulled: str) -> None:
    looks = ("stat -c %i hard1", "stat -c %i hard2", "stat -c '%u:%g %a' owned", "readlink soft", "stat -c %F fifo")
    script = "; ".join(("cd data", *looks))
    first, second, owned, soft, fifo = ctr("run", "--rm", pulled, "look", "sh", "-c", script).splitlines()
    assert first == second
    assert owned == "1000:1000 4755"
    assert soft == "kept"
    assert fifo == "fifo"


def test_extended_attributes_are_in_the_snapshot(ctr: Ctr, pulled: str, tmp_path: Path) -> None:
    name = ctr("images", "pull", "--plain-http", "--print-chainid", pulled).split("image chain ID: ")[1].split()[0]
    mount = ctr("snapshots", "mounts", str(tmp_path), _view(ctr, name)).strip()
    subprocess.run(shlex.split(mount), check=True)
    try:
        assert os.getxattr(f"{tmp_path}/data/attr", "user.corten") == b"yes"
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)


def _view(ctr: Ctr, parent: str) -> str:
    ctr("snapshots", "view", "the-view", parent)
    return "the-view"


def test_list_check_tag_and_remove(ctr: Ctr, pulled: str) -> None:
    assert pulled in ctr("images", "ls")
    checked = ctr("images", "check")
    assert "complete (6/6)" in checked
    assert checked.split()[-1] == "true"
    ctr("images", "tag", pulled, "again:1")
    ctr("images", "rm", pulled)
    assert ctr("images", "ls", "-q").split() == ["again:1"]
    assert ctr("run", "--rm", "again:1", "still", "cat", "/data/kept") == "kept"


def test_removing_the_last_name_frees_content_and_snapshots(ctr: Ctr, pulled: str) -> None:
    assert len(ctr("content", "ls", "-q").split()) == 7
    assert len(ctr("snapshots", "ls").splitlines()) == 6
    ctr("images", "rm", "--sync", pulled)
    assert ctr("content", "ls", "-q").split() == []
    assert ctr("snapshots", "ls").splitlines()[1:] == []


def test_labels_on_an_image(ctr: Ctr, pulled: str) -> None:
    ctr("images", "label", pulled, "colour=green")
    assert "colour=green" in ctr("images", "ls", "labels.colour==green")
    assert pulled not in ctr("images", "ls", "labels.colour==red")


def test_export_and_import_keep_the_digest(ctr: Ctr, pulled: str, tmp_path: Path) -> None:
    archive = f"{tmp_path}/image.tar"
    before = ctr("images", "ls").splitlines()[1].split()[2]
    ctr("images", "export", archive, pulled)
    ctr("images", "rm", "--sync", pulled)
    ctr("images", "import", archive)
    assert ctr("images", "ls").splitlines()[1].split()[2] == before
    assert ctr("run", "--rm", pulled, "again", "cat", "/data/kept") == "kept"


def test_pull_of_what_is_not_there_names_it(ctr: Ctr, pulled: str) -> None:
    failed = ctr.try_("images", "pull", "--plain-http", f"{pulled.rpartition(':')[0]}:missing")
    assert failed.returncode != 0
    assert "not found" in failed.stderr
