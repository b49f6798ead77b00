"""SIGKILL of the daemon at each step of a task's life: the next one finds a task that is whole, or nothing."""

import os
import subprocess
from collections.abc import Iterator, Sequence

import pytest
from counts import count
from daemon import Daemon, daemon_folder, mounts_and_processes
from gates import Gate
from peers import Ctr, wait_until

pytestmark = pytest.mark.integration
STEPS = [
    *(("after", "create"), ("before", "exec"), ("after", "delete")),
    *(("before", "create"), ("before", "start"), ("after", "start"), ("after", "exec"), ("before", "delete")),
][: count("steps of a killed daemon")]


@pytest.fixture
def gated() -> Iterator[tuple[Daemon, Gate]]:
    """A daemon whose runc stops where it is told to."""
    with daemon_folder() as folder:
        gate = Gate(folder / "gate")
        config = f"version: 3\nplugins:\n  io.containerd.shim.v1.runc:\n    runc: {gate.program}\n"
        (folder / "config.yaml").write_text(config)
        daemon = Daemon(folder, ["--config", str(folder / "config.yaml")])
        try:
            daemon.start()
            yield daemon, gate
        finally:
            gate.open()
            daemon.stop()


def _life(ctr: Ctr, verb: str, image: str) -> "subprocess.Popen[str]":
    """Begin what leads to that verb of runc, and leave it to itself."""
    if verb in ("create", "start"):
        return ctr.start("run", "-d", image, "t", "sleep", "1000")
    ctr("run", "-d", image, "t", "sleep", "1000")
    if verb == "exec":
        return ctr.start("task", "exec", "--exec-id", "e", "t", "true")
    ctr("task", "kill", "-s", "KILL", "t")
    wait_until(lambda: "STOPPED" in ctr("task", "ls"), "the task has stopped")
    return ctr.start("task", "rm", "t")


@pytest.mark.parametrize(("when", "verb"), STEPS, ids=["-".join(step) for step in STEPS])
def test_killed_at_a_step(gated: tuple[Daemon, Gate], reference: str, when: str, verb: str) -> None:
    daemon, gate = gated
    ctr = Ctr(daemon.address, f"faults-{os.getpid()}")  # it names the cgroup, which workers must not share
    ctr("images", "pull", "--plain-http", reference)
    gate.stop_at(when, verb)
    client = _life(ctr, verb, reference)
    wait_until(lambda: gate.held, "the step is reached")
    daemon.kill()
    daemon.start()
    gate.open()
    client.kill()
    client.communicate()
    tasks = ctr("task", "ls").splitlines()[1:]
    if verb == "exec":
        assert "RUNNING" in tasks[0]
    wait_until(lambda: _removed(ctr), "the task is gone")
    ctr("container", "rm", "t")
    assert ctr("run", "--rm", reference, "t", "echo", "again") == "again\n"
    wait_until(lambda: _shims(daemon) == [], "no shim is left")


def _removed(ctr: Ctr) -> bool:
    ctr.try_("task", "rm", "-f", "t")
    return "t" not in ctr("task", "ls", "-q").split()


def _shims(daemon: Daemon) -> Sequence[str]:
    """Processes and mounts that are not the daemon's own, nor its zygote's."""
    listed = subprocess.run(["ps", "-eo", "pid=,args="], capture_output=True, text=True, check=True).stdout
    own = [line.split()[0] for line in listed.splitlines() if "zygote" in line or "copier" in line]
    pids = {f"process {pid}" for pid in (*own, daemon.pid)}
    return [found for found in mounts_and_processes(daemon.folder) if found not in pids]
