"""`corten doctor` beside a real daemon: finds what was put there, clears it up, and leaves the living alone."""

import json
import os
import shutil
import signal
import subprocess
import tarfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import images
import pytest
from corten.contracts.mounts import Mount
from corten.linux import mount
from corten.oci import spec
from corten.oci.options import SpecOptions
from daemon import Daemon, remove_cgroups, running_daemon
from peers import Ctr, alive, wait_until

pytestmark = pytest.mark.integration
NS = f"doctored-{os.getpid()}"
IMAGE = "example.com/test/five:latest"


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    layout = images.write_layout(tmp_path / "layout")
    with tarfile.open(tmp_path / "image.tar", "w") as tar:
        for path in sorted(Path(layout).rglob("*")):
            tar.add(path, str(path.relative_to(layout)))
    with running_daemon() as daemon:
        ctr = Ctr(daemon.address, NS)
        ctr("images", "import", "--index-name", IMAGE, str(tmp_path / "image.tar"))
        ctr("run", "-d", IMAGE, "living", "sleep", "1000")
        yield daemon
        ctr("tasks", "rm", "-f", "living")
    remove_cgroups(NS)


def doctor(daemon: Daemon, *args: str) -> "subprocess.CompletedProcess[str]":
    return daemon.corten("doctor", *args, namespace=NS)


def found(daemon: Daemon) -> set[str]:
    return {each["kind"] for each in json.loads(doctor(daemon, "--format", "json").stdout)}


def test_a_host_without_leftovers_is_sound(daemon: Daemon) -> None:
    done = doctor(daemon)
    assert (done.returncode, done.stdout) == (0, "Nothing is left of a crash on this host.\n"), done.stdout


def test_leftovers_are_explained_and_cleared_up(daemon: Daemon) -> None:
    tasks = daemon.state / "io.containerd.runtime.v2.task" / NS
    ghost = tasks / "ghost"
    (ghost / "rootfs").mkdir(parents=True)
    mount.mount_one(Mount("tmpfs", "tmpfs"), str(ghost / "rootfs"))
    shim = subprocess.Popen(["containerd-shim-ghost-v1", "1000"], executable=shutil.which("sleep"), cwd=ghost)
    cgroup = next((p for p in Path("/sys/fs/cgroup").glob(f"*/{NS}")), Path("/sys/fs/cgroup") / NS) / "ghost"
    cgroup.mkdir()
    blob = daemon.root / "io.containerd.content.v1.content/blobs/sha256" / ("0" * 64)
    blob.write_bytes(b"nobody's")
    try:
        said = doctor(daemon)
        assert said.returncode == 1 and f"bundle: {NS}/ghost" in said.stdout and "remedy:" in said.stdout
        assert found(daemon) == {"shim", "bundle", "cgroup", "content"}
        repaired = doctor(daemon, "--repair")
        assert repaired.stdout.count("done") == 3 and "restart cortend" in repaired.stdout, repaired.stdout
        wait_until(lambda: shim.poll() is not None, "the shim is killed")
        assert not ghost.exists() and not cgroup.exists()
    finally:
        shim.kill()
        shim.wait()
        with suppress(OSError):
            cgroup.rmdir()
    daemon.restart()
    doctor(daemon, "--repair")
    assert found(daemon) == set() and not blob.exists()
    assert "RUNNING" in Ctr(daemon.address, NS)("tasks", "ls")


def test_a_container_that_only_runc_knows_is_deleted(daemon: Daemon, tmp_path: Path) -> None:
    root = daemon.state / "runc" / NS
    bundle = tmp_path / "bundle"
    for name in ("bin", "proc", "dev", "sys", "run"):
        (bundle / "rootfs" / name).mkdir(parents=True)
    shutil.copy(images.BUSYBOX, bundle / "rootfs/bin/sleep")
    document = spec.build(NS, "lost", SpecOptions(args=("/bin/sleep", "1000")))
    (bundle / "config.json").write_text(json.dumps(document))
    argv = ["runc", "--root", str(root), "run", "-d", "-b", str(bundle), "lost"]
    subprocess.run(argv, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    pid = json.loads((root / "lost/state.json").read_text())["init_process_pid"]
    try:
        assert found(daemon) == {"runc container"}
        assert doctor(daemon, "--repair").returncode == 0
        wait_until(lambda: not alive(pid), "its process is gone")
        assert found(daemon) == set()
    finally:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
