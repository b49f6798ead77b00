"""Where cortend may start: foreign roots, locks, the socket's mode and owner, and what it says when it may not."""

import hashlib
import os
import socket
import stat
import subprocess
from pathlib import Path

import peers
import pytest
from daemon import CORTEND, daemon_folder, remove_cgroups, running_daemon
from peers import Ctr

pytestmark = pytest.mark.integration


def attempt(*args: str) -> subprocess.CompletedProcess[str]:
    """A start that should fail at once."""
    return subprocess.run([str(CORTEND), *args], capture_output=True, text=True, timeout=20, check=False)


def print_of(folder: Path) -> dict[str, tuple[int, int, str]]:
    """Every path with mode, mtime and content."""
    found = {}
    for path in sorted(folder.rglob("*")):
        info = path.lstat()
        data = path.read_bytes() if stat.S_ISREG(info.st_mode) else b""
        found[str(path)] = (info.st_mode, info.st_mtime_ns, hashlib.sha256(data).hexdigest())
    return found


def test_a_root_that_containerd_filled_is_refused_and_stays_as_it_is(tmp_path: Path, reference: str) -> None:
    with peers.containerd(tmp_path) as address:
        Ctr(address)("images", "pull", "--plain-http", reference)
    before = print_of(tmp_path / "root")
    done = attempt("--root", f"{tmp_path}/root", "--state", f"{tmp_path}/s2", "-a", f"{tmp_path}/a.sock")
    assert done.returncode == 1
    assert f"{tmp_path}/root" in done.stderr and "containerd" in done.stderr
    assert "Traceback" not in done.stderr
    assert print_of(tmp_path / "root") == before


@pytest.mark.parametrize("shared", ["root", "state", "address"])
def test_a_second_daemon_is_refused_by_name_and_pid(shared: str) -> None:
    with running_daemon() as daemon, daemon_folder() as other:
        own = {"root": str(other / "root"), "state": str(other / "state"), "address": str(other / "b.sock")}
        own[shared] = {"root": str(daemon.root), "state": str(daemon.state), "address": daemon.address}[shared]
        done = attempt("--root", own["root"], "--state", own["state"], "-a", own["address"])
        assert done.returncode == 1
        assert str(daemon.pid) in done.stderr and own[shared] in done.stderr
        daemon.ctr("version")


def test_mode_owner_and_config_of_the_socket() -> None:
    config = "version: 4\nplugins:\n  io.containerd.server.v1.grpc:\n    uid: 1234\n    gid: 4321\n"
    with running_daemon(config=config) as daemon:
        info = os.stat(daemon.address)
        assert (stat.S_IMODE(info.st_mode), info.st_uid, info.st_gid) == (0o660, 1234, 4321)
        ttrpc = os.stat(f"{daemon.address}.ttrpc")
        assert stat.S_IMODE(ttrpc.st_mode) == 0o660
        assert stat.S_IMODE(os.stat(daemon.root).st_mode) == 0o700
        assert stat.S_IMODE(os.stat(daemon.state).st_mode) == 0o711


def test_the_daemon_moves_into_the_cgroup_that_is_configured() -> None:
    """In every hierarchy; a new cpuset of version 1 takes processes only once it has processors."""
    name = f"corten-test-{os.getpid()}"
    try:
        with running_daemon(config=f"version: 4\ncgroup: {{path: /{name}/daemon}}\n") as daemon:
            lines = Path(f"/proc/{daemon.pid}/cgroup").read_text().splitlines()
            assert {line.split(":", 2)[2] for line in lines} == {f"/{name}/daemon"}
    finally:
        remove_cgroups(f"{name}/daemon")
        remove_cgroups(name)


def test_stopping_a_daemon_leaves_a_socket_that_is_not_its_own() -> None:
    with running_daemon() as daemon:
        os.unlink(daemon.address)
        with socket.socket(socket.AF_UNIX) as mine:
            mine.bind(daemon.address)
            daemon.stop()
            assert stat.S_ISSOCK(os.stat(daemon.address).st_mode)


def test_the_socket_of_a_killed_daemon_is_replaced() -> None:
    with running_daemon() as daemon:
        daemon.kill()
        assert Path(daemon.address).exists()
        daemon.start()
        daemon.ctr("version")


def test_a_live_socket_of_another_program_is_never_bound_over(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as mine:
        mine.bind(f"{tmp_path}/a.sock")
        mine.listen()
        before = os.stat(f"{tmp_path}/a.sock").st_ino
        done = attempt("--root", f"{tmp_path}/r", "--state", f"{tmp_path}/s", "-a", f"{tmp_path}/a.sock")
        assert done.returncode == 1
        assert f"{tmp_path}/a.sock" in done.stderr
        assert os.stat(f"{tmp_path}/a.sock").st_ino == before


def test_an_address_that_is_too_long_is_named(tmp_path: Path) -> None:
    address = f"{tmp_path}/{'x' * 120}.sock"
    done = attempt("--root", f"{tmp_path}/r", "--state", f"{tmp_path}/s", "-a", address)
    assert done.returncode == 1
    assert "107" in done.stderr
