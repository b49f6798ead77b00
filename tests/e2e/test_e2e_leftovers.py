"""After removal and gc nothing is left: on disk, in mounts, cgroups, processes or namespaces."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import peers
import pytest
from daemon import Daemon, processes_on, running_daemon
from peers import Ctr, wait_until

pytestmark = pytest.mark.integration


@pytest.fixture
def daemon() -> Iterator[Daemon]:
    """A daemon of this test's own, so that everything on its folder is this test's."""
    with running_daemon() as daemon:
        yield daemon


def work(ctr: Ctr, reference: str) -> None:
    """Some of everything: runs, execs, a failed run, a killed task, a diff, a lease, a view."""
    ctr("images", "pull", "--plain-http", reference)
    ctr("run", "--rm", reference, "one", "true")
    ctr.try_("run", "--rm", reference, "bad", "/no/such/program")
    ctr("run", "-d", reference, "two", "sleep", "1000")
    ctr("tasks", "exec", "--exec-id", "e", "two", "sh", "-c", "echo hi > /data/x")
    ctr("tasks", "exec", "-d", "--exec-id", "f", "two", "sleep", "1000")
    subprocess.run(ctr.argv("snapshots", "diff", "--keep", "two"), check=True, capture_output=True)
    ctr("leases", "create", "--id", "l")
    ctr("tasks", "rm", "-f", "two")
    ctr("containers", "rm", "two")


def remove(ctr: Ctr, reference: str) -> None:
    ctr("leases", "rm", "l")
    for digest in ctr("content", "ls", "-q").split():
        ctr.try_("content", "label", digest, "containerd.io/gc.root=")
    ctr("images", "rm", "--sync", reference)


def files_of(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file() or path.is_symlink()}


def cgroups_named(namespace: str) -> list[str]:
    return [path for path, _, _ in os.walk("/sys/fs/cgroup") if f"/{namespace}/" in path or path.endswith(namespace)]


def test_nothing_is_left(daemon: Daemon, reference: str) -> None:
    ctr = Ctr(daemon.address, "leftovers")
    before = set(processes_on(daemon.folder))
    work(ctr, reference)
    remove(ctr, reference)
    wait_until(lambda: not ctr("content", "ls", "-q").split(), "gc removed the content")
    wait_until(lambda: not ctr("snapshots", "ls").splitlines()[1:], "gc removed the snapshots")
    wait_until(lambda: set(processes_on(daemon.folder)) <= before, "no process is left but the daemon's")
    assert peers.mounts_below(daemon.folder) == []
    assert [c for c in cgroups_named("leftovers") if not c.endswith("/leftovers")] == []
    assert not list((daemon.root / "io.containerd.content.v1.content/blobs").rglob("*/*"))
    tree = daemon.root / "io.containerd.snapshotter.v1.overlayfs/snapshots"
    wait_until(lambda: not list(tree.iterdir()), "the snapshots' folders are gone")
    bundles = daemon.state / "io.containerd.runtime.v2.task/leftovers"
    assert not bundles.exists() or not list(bundles.iterdir())
    assert not [f for f in files_of(daemon.state) if "leftovers" in f]


def test_daemon_stops_leaving_no_process_or_socket(reference: str) -> None:
    with running_daemon() as daemon:
        Ctr(daemon.address)("images", "pull", "--plain-http", reference)
        daemon.stop()
        assert daemon.process is not None and daemon.process.returncode == 0, daemon.log[-2000:]
        wait_until(lambda: not processes_on(daemon.folder), "no process is left")
        assert not Path(daemon.address).exists()
        assert peers.mounts_below(daemon.folder) == []
