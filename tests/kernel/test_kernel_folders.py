"""Whose root it is, and who holds it."""

import hashlib
import json
import os
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from corten.daemon import stale
from corten.daemon.folders import MARKER, Lock, check_root, claim, claim_address, objection, rebooted
from corten.errors import FailedPrecondition
from hypothesis import given, settings
from hypothesis import strategies as st

HOLD = """
import sys
from pathlib import Path
from corten.daemon.folders import claim, claim_address
held = [*claim(Path(sys.argv[1]), Path(sys.argv[2])), claim_address(sys.argv[3])]
print("held", flush=True)
sys.stdin.read()
"""


def picture(folder: Path) -> dict[str, tuple[int, int, str]]:
    found = {}
    for path in sorted([folder, *folder.rglob("*")]):
        info = path.lstat()
        data = path.read_bytes() if stat.S_ISREG(info.st_mode) else b""
        found[str(path)] = (info.st_mode, info.st_mtime_ns, hashlib.sha256(data).hexdigest())
    return found


@pytest.mark.parametrize(
    ("path", "word"),
    [("io.containerd.metadata.v1.bolt/meta.db", "containerd"), ("some/data", "some"), ("file", "file")],
)
def test_a_foreign_root_is_refused_and_stays_as_it_is(tmp_path: Path, path: str, word: str) -> None:
    root = tmp_path / "root"
    (root / path).parent.mkdir(parents=True)
    (root / path).write_text("precious")
    before = picture(root)
    with pytest.raises(FailedPrecondition, match=f"root {root}: .*{word}.*--root"):
        claim(root, tmp_path / "state")
    assert picture(root) == before
    assert not (tmp_path / "state").exists()


def test_containerds_metadata_is_refused_even_beside_our_marker(tmp_path: Path) -> None:
    for lock in claim(tmp_path / "root", tmp_path / "state"):
        lock.release()
    (tmp_path / "root" / "io.containerd.metadata.v1.bolt").mkdir()
    (tmp_path / "root" / "io.containerd.metadata.v1.bolt" / "meta.db").touch()
    with pytest.raises(FailedPrecondition, match="containerd"):
        check_root(tmp_path / "root")


def test_a_new_root_is_marked_and_closed_to_others(tmp_path: Path) -> None:
    locks = claim(tmp_path / "root", tmp_path / "state")
    assert stat.S_IMODE((tmp_path / "root").stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / "state").stat().st_mode) == 0o711
    assert json.loads((tmp_path / "root" / MARKER).read_text())["layout"] == 1
    for lock in locks:
        lock.release()
    (tmp_path / "root" / "data").mkdir()
    for lock in claim(tmp_path / "root", tmp_path / "state"):
        lock.release()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
@pytest.mark.parametrize("which", ["root", "state"])
def test_a_folder_of_another_uid_is_refused_and_stays_as_it_is(tmp_path: Path, which: str) -> None:
    (tmp_path / which).mkdir(mode=0o755)
    os.chown(tmp_path / which, 1234, 0)
    with pytest.raises(FailedPrecondition, match=rf"{which} {tmp_path}/{which}: it belongs to uid 1234.*--{which}"):
        claim(tmp_path / "root", tmp_path / "state")
    found = (tmp_path / which).stat()
    assert (found.st_uid, stat.S_IMODE(found.st_mode), list((tmp_path / which).iterdir())) == (1234, 0o755, [])


@pytest.mark.parametrize(("marker", "word"), [('{"layout": 2}', "newer"), ("{", "damaged"), ("[]", "damaged")])
def test_a_marker_that_is_newer_or_damaged_is_refused(tmp_path: Path, marker: str, word: str) -> None:
    (tmp_path / MARKER).write_text(marker)
    with pytest.raises(FailedPrecondition, match=word):
        check_root(tmp_path)


@settings(deadline=None)
@given(st.sets(st.text(st.characters(categories=["L", "N"]), min_size=1)))
def test_anything_unknown_without_a_marker_is_foreign(names: set[str]) -> None:
    assert bool(objection(names, None, containerd=False)) == bool(names)
    assert objection(names, '{"layout": 1}', containerd=False) == ""


def test_each_folder_and_the_address_is_held_by_name_and_pid(tmp_path: Path) -> None:
    mine = [str(tmp_path / name) for name in ("root", "state", "c.sock")]
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, *mine], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdin is not None
    assert holder.stdout is not None
    try:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(FailedPrecondition, match=rf"root {mine[0]}: is used by cortend, pid {holder.pid} "):
            claim(Path(mine[0]), tmp_path / "other")
        with pytest.raises(FailedPrecondition, match=rf"state {mine[1]}: is used by cortend, pid {holder.pid} "):
            claim(tmp_path / "another", Path(mine[1]))
        with pytest.raises(FailedPrecondition, match=rf"address {mine[2]}: is used by cortend, pid {holder.pid} "):
            claim_address(mine[2])
    finally:
        holder.kill()
        holder.wait()
        holder.stdin.close()
        holder.stdout.close()
    for lock in [*claim(Path(mine[0]), Path(mine[1])), claim_address(mine[2])]:
        lock.release()


def test_a_lock_is_not_inherited_by_programs(tmp_path: Path) -> None:
    lock = Lock("thing", tmp_path / "lock")
    child = subprocess.Popen(["sleep", "30"], close_fds=False)
    try:
        lock.release()
        Lock("thing", tmp_path / "lock").release()
    finally:
        child.kill()
        child.wait()


def test_a_lock_is_never_taken_through_a_link(tmp_path: Path) -> None:
    os.symlink(tmp_path / "victim", tmp_path / "lock")
    with pytest.raises(Exception, match="lock"):
        Lock("thing", tmp_path / "lock")
    assert not (tmp_path / "victim").exists()


def test_a_reboot_is_noticed_once(tmp_path: Path) -> None:
    assert [rebooted(tmp_path, boot) for boot in ("a", "a", "b", "b")] == [False, False, True, False]


def _leave_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))
        left.listen()


def test_the_socket_of_a_daemon_that_was_killed_is_taken_away(tmp_path: Path) -> None:
    address = tmp_path / "c.sock"
    claim_address(str(address)).release()
    _leave_socket(address)
    stale.clear(str(address))
    assert not address.exists()


def test_a_socket_that_is_held_or_served_or_anothers_stays(tmp_path: Path) -> None:
    address = tmp_path / "c.sock"
    _leave_socket(address)
    stale.clear(str(address))
    assert address.exists(), "no lock lies beside it: it is not Corten's"
    lock = claim_address(str(address))
    stale.clear(str(address))
    assert address.exists(), "a daemon holds the address"
    lock.release()
    address.unlink()
    with socket.socket(socket.AF_UNIX) as served:
        served.bind(str(address))
        served.listen()
        stale.clear(str(address))
        assert address.exists()
