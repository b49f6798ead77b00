"""dockerd on cortend: containers run, live over restarts of both daemons, and nothing is left at the end.

It is Debian's, or the one that CORTEN_DOCKERD names (a newer one wants a newer runc on PATH than Debian's).

dockerd has its own folders, socket and pid file, and touches no firewall and no bridge: it harms nothing of the host.
"""

import json
import os
import pty
import shutil
import signal
import subprocess
import tarfile
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import images
import pytest
from daemon import Daemon, running_daemon
from peers import Ctr, stop, wait_until

pytestmark = [pytest.mark.integration, pytest.mark.xdist_group("docker")]
IMAGE = "test/busybox:1"
APPLETS = ("sh", "sleep", "echo", "cat", "true", "stty", "seq", "id")
START = 30.0
DOCKERD = os.environ.get("CORTEN_DOCKERD", "dockerd")


@dataclass
class Docker:
    """A dockerd that uses `cortend`, and the command docker against it."""

    cortend: Daemon
    folder: Path
    process: "subprocess.Popen[bytes] | None" = None

    @property
    def host(self) -> str:
        return f"unix://{self.folder}/d.sock"

    @property
    def cgroup(self) -> str:
        return f"corten-docker-{os.getpid()}"

    def argv(self, *args: str) -> list[str]:
        return ["docker", "--config", f"{self.folder}/client", "-H", self.host, *args]

    def start(self) -> None:
        nothing = ("--iptables=false", "--ip6tables=false", "--ip-forward=false", "--ip-masq=false", "--bridge=none")
        own = ("--data-root", f"{self.folder}/data", "--exec-root", f"{self.folder}/exec", "-p", f"{self.folder}/pid")
        files = ("--config-file", f"{self.folder}/daemon.json", "--containerd", self.cortend.address)
        rest = ("-H", self.host, "--live-restore", f"--cgroup-parent=/{self.cgroup}")
        with (self.folder / "dockerd.log").open("ab") as log:
            argv = [DOCKERD, *own, *files, *nothing, *rest]
            self.process = subprocess.Popen(argv, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        wait_until(lambda: self.try_("info").returncode == 0, "dockerd answers", START)

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def try_(self, *args: str, input: str | None = None) -> "subprocess.CompletedProcess[str]":
        stdin = subprocess.DEVNULL if input is None else None
        return subprocess.run(
            self.argv(*args), input=input, stdin=stdin, capture_output=True, text=True, timeout=60, check=False
        )

    def __call__(self, *args: str, input: str | None = None) -> str:
        done = self.try_(*args, input=input)
        assert done.returncode == 0, f"docker {' '.join(args)}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def run(self, *args: str) -> str:
        return self("run", "--network", "none", *args)

    def state(self, name: str, field: str) -> str:
        return self("inspect", "-f", f"{{{{{field}}}}}", name).strip()


@pytest.fixture(scope="module")
def docker() -> Iterator[Docker]:
    for program in (DOCKERD, "docker", "runc"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed")
    if os.geteuid():
        pytest.skip("dockerd needs root")
    with running_daemon() as cortend:
        folder = cortend.folder / "docker"
        folder.mkdir()
        (folder / "daemon.json").write_text("{}")
        made = Docker(cortend, folder)
        try:
            made.start()
            made("import", str(image(folder)), IMAGE)
            yield made
        finally:
            remove_all(made)
    for path in [*Path("/sys/fs/cgroup").glob(made.cgroup), *Path("/sys/fs/cgroup").glob(f"*/{made.cgroup}")]:
        with suppress(OSError):
            path.rmdir()


def image(folder: Path) -> Path:
    path = folder / "image.tar"
    with tarfile.open(path, "w") as tar:
        tar.add(images.BUSYBOX, "bin/busybox")
        for applet in APPLETS:
            images.link(tar, f"bin/{applet}", "busybox")
        images.file(tar, "etc/passwd", b"root:x:0:0::/:/bin/sh\nweb:x:33:34::/:\n")
    return path


def remove_all(docker: Docker) -> None:
    if docker.process is None:
        return
    if docker.process.poll() is None:
        names = docker.try_("ps", "-aq").stdout.split()
        if names:
            docker.try_("rm", "-f", *names)
    stop(docker.process)


@pytest.fixture(autouse=True)
def cleared(docker: Docker) -> Iterator[None]:
    yield
    names = docker("ps", "-aq").split()
    if names:
        docker("rm", "-f", *names)


def containers(docker: Docker) -> list[str]:
    return Ctr(docker.cortend.address, "moby")("containers", "ls", "-q").split()


def test_run_passes_output_and_exit_code_and_leaves_nothing(docker: Docker) -> None:
    done = docker.try_("run", "--rm", "--network", "none", IMAGE, "/bin/sh", "-c", "echo out; echo err >&2; exit 7")
    assert (done.returncode, done.stdout, done.stderr) == (7, "out\n", "err\n")
    assert containers(docker) == []


def test_stdin_reaches_its_end(docker: Docker) -> None:
    argv = ("run", "--rm", "-i", "--network", "none", IMAGE, "/bin/cat")
    assert docker(*argv, input="through and through\n") == "through and through\n"


def test_a_program_that_is_not_there_is_named(docker: Docker) -> None:
    done = docker.try_("run", "--rm", "--network", "none", IMAGE, "/no/such/program")
    assert done.returncode == 127 and "/no/such/program" in done.stderr
    assert containers(docker) == []


def test_a_terminal(docker: Docker) -> None:
    pid, fd = pty.fork()
    if pid == 0:
        os.execvp("docker", docker.argv("run", "--rm", "-it", "--network", "none", IMAGE, "/bin/sh"))
    shown = b""
    for typed, wanted in ((b"stty -a | head -1; echo one-$((1+1))\n", b"one-2"), (b"exit 9\n", b"")):
        os.write(fd, typed)
        end = time.monotonic() + 20
        while wanted not in shown and time.monotonic() < end:
            shown += os.read(fd, 4096)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    os.close(fd)
    assert b"one-2" in shown and code == 9


def test_exec_logs_top_and_stats(docker: Docker) -> None:
    docker.run("-d", "--name", "one", "-m", "64m", IMAGE, "/bin/sh", "-c", "seq 1 5; exec sleep 1000")
    wait_until(lambda: docker("logs", "one").split() == ["1", "2", "3", "4", "5"], "the log is there")
    done = docker.try_("exec", "-u", "web", "-e", "X=1", "one", "/bin/sh", "-c", "id -u; id -g; echo $X; exit 5")
    assert (done.returncode, done.stdout.split()) == (5, ["33", "34", "1"])
    assert docker("exec", "-i", "one", "/bin/cat", input="in\n") == "in\n"
    assert "sleep 1000" in docker("top", "one")
    stats = json.loads(docker("stats", "--no-stream", "--format", "{{json .}}", "one"))
    assert stats["PIDs"] == "1" and stats["MemUsage"].endswith("64MiB")


def test_pause_and_update(docker: Docker) -> None:
    docker.run("-d", "--name", "one", IMAGE, "/bin/sleep", "1000")
    docker("pause", "one")
    assert docker.state("one", ".State.Status") == "paused"
    docker("unpause", "one")
    docker("update", "-m", "80m", "--memory-swap", "80m", "one")
    stats = json.loads(docker("stats", "--no-stream", "--format", "{{json .}}", "one"))
    assert stats["MemUsage"].endswith("80MiB")


def test_kill_and_stop(docker: Docker) -> None:
    docker.run("-d", "--name", "one", IMAGE, "/bin/sleep", "1000")
    docker("kill", "one")
    wait_until(lambda: docker.state("one", ".State.Status") == "exited", "it has ended")
    assert docker.state("one", ".State.ExitCode") == "137"
    docker("start", "one")
    docker("stop", "-t", "0", "one")
    assert docker.state("one", ".State.Running") == "false"


def test_restart_policies(docker: Docker) -> None:
    docker.run("-d", "--name", "fails", "--restart", "on-failure:2", IMAGE, "/bin/sh", "-c", "exit 3")
    docker.run("-d", "--name", "always", "--restart", "always", IMAGE, "/bin/sleep", "1000")
    before = docker.state("always", ".State.Pid")
    os.kill(int(before), signal.SIGKILL)
    wait_until(lambda: docker.state("always", ".State.Pid") not in ("0", before), "it runs again")
    wait_until(lambda: docker.state("fails", ".RestartCount") == "2", "it was tried twice more")
    wait_until(lambda: docker.state("fails", ".State.Status") == "exited", "it gave up")
    assert docker.state("fails", ".State.ExitCode") == "3" and docker.state("fails", ".RestartCount") == "2"


def numbers(docker: Docker, name: str) -> list[int]:
    return [int(line) for line in docker("logs", name).split()]


def test_containers_live_over_restarts_of_both_daemons(docker: Docker) -> None:
    count = "i=0; while true; do i=$((i+1)); echo $i; sleep 0.1; done"
    docker.run("-d", "--name", "live", IMAGE, "/bin/sh", "-c", count)
    docker.run("-d", "--name", "ends", IMAGE, "/bin/sh", "-c", "sleep 3; exit 42")
    pid = docker.state("live", ".State.Pid")
    docker.cortend.kill()
    docker.cortend.start()
    wait_until(lambda: docker.try_("exec", "live", "/bin/echo", "x").stdout == "x\n", "exec works again")
    docker.kill()
    time.sleep(0.5)  # output goes on meanwhile
    docker.start()
    assert docker.state("live", ".State.Pid") == pid and docker.state("live", ".State.Running") == "true"
    assert docker("exec", "live", "/bin/echo", "back") == "back\n"
    wait_until(lambda: docker.state("ends", ".State.Running") == "false", "what ended meanwhile has ended")
    assert docker.state("ends", ".State.ExitCode") == "42"
    before = len(numbers(docker, "live"))
    wait_until(lambda: len(numbers(docker, "live")) > before, "output goes on")
    assert numbers(docker, "live") == list(range(1, len(numbers(docker, "live")) + 1)), "no line was lost"
    docker("rm", "-f", "live")
    assert not os.path.exists(f"/proc/{pid}")
