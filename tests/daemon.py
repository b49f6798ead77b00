"""A real cortend for tests: on its own folder and socket, and gone with all it started when the test is over.

    with running_daemon() as daemon:
        subprocess.run(["ctr", "-a", daemon.address, "version"], check=True)

Whatever the test left running is found by the folder (command line, working directory, open files, or a root file
system on it), killed by pid, unmounted and removed.
"""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from peers import Ctr, alive, mounts_below, stop, unmount_below, wait_until

CORTEND = Path(sys.executable).with_name("cortend")
CORTEN = Path(sys.executable).with_name("corten")
START = 30.0
"""Seconds a daemon has to answer."""


@dataclass
class Daemon:
    """A cortend under test; `restart` keeps its folder."""

    folder: Path
    args: Sequence[str] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    process: "subprocess.Popen[bytes] | None" = None
    program: Path = CORTEND

    @property
    def address(self) -> str:
        return f"{self.folder}/c.sock"

    @property
    def root(self) -> Path:
        return self.folder / "root"

    @property
    def state(self) -> Path:
        return self.folder / "state"

    @property
    def log(self) -> str:
        """What the daemon printed so far."""
        return (self.folder / "cortend.log").read_text(errors="replace")

    @property
    def ctr(self) -> Ctr:
        """Debian's ctr against this daemon."""
        return Ctr(self.address)

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def argv(self) -> list[str]:
        own = ["--root", str(self.root), "--state", str(self.state), "--address", self.address]
        return [str(self.program), *own, *self.args]

    def start(self, *, wait: bool = True) -> None:
        """Start it; with `wait`, until all of it is up."""
        with (self.folder / "cortend.log").open("ab") as log:
            self.process = subprocess.Popen(self.argv(), stdout=log, stderr=log, env={**os.environ, **self.env})
        if wait:
            self.wait_ready()

    def wait_ready(self) -> None:
        try:
            wait_until(self._answers_or_ended, "cortend answers", START)
            assert self.process is not None and self.process.poll() is None, "cortend ended"
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.log[-4000:]}") from None

    def stop(self) -> None:
        """SIGTERM, and SIGKILL if that takes too long."""
        if self.process is not None:
            stop(self.process)

    def kill(self) -> None:
        """SIGKILL to the daemon alone."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def restart(self) -> None:
        self.stop()
        self.start()

    def corten(
        self, *args: str, timeout: float = 60.0, input: str | None = None, namespace: str = "default"
    ) -> "subprocess.CompletedProcess[str]":
        """Run the command `corten` against this daemon, whatever comes of it."""
        return subprocess.run(
            [str(CORTEN), "--address", self.address, "--namespace", namespace, *args],
            capture_output=True, text=True, timeout=timeout, check=False, input=input,
            stdin=subprocess.DEVNULL if input is None else None,
            env={**os.environ, "CORTEN_LOGS": f"{self.folder}/logs"},
        )  # fmt: skip

    def _answers_or_ended(self) -> bool:
        if self.process is None or self.process.poll() is not None:
            return True
        with socket.socket(socket.AF_UNIX) as probe:
            if probe.connect_ex(self.address):
                return False
        # It listens while its plugins start, and tells of them once all have.
        return subprocess.run(self.ctr.argv("plugins", "ls"), capture_output=True, check=False).returncode == 0


@contextmanager
def running_daemon(*args: str, config: str = "", env: Mapping[str, str] | None = None) -> Iterator[Daemon]:
    """Start cortend on a new folder in /tmp with extra `args`; `config` is the text of a YAML config file."""
    with daemon_folder() as folder:
        extra = list(args)
        if config:
            (folder / "config.yaml").write_text(config)
            extra += ["--config", str(folder / "config.yaml")]
        daemon = Daemon(folder, extra, env or {})
        try:
            daemon.start()
            yield daemon
        finally:
            daemon.stop()


@contextmanager
def daemon_folder() -> Iterator[Path]:
    """A folder for a daemon that a test starts itself; cleared of processes, mounts and cgroups at the end."""
    folder = Path(tempfile.mkdtemp(prefix="corten-test-", dir="/tmp"))
    try:
        yield folder
    finally:
        clear(folder)


def clear(folder: Path) -> None:
    """Kill what runs on `folder`, unmount what is mounted below it, remove it and the cgroups of the killed."""
    cgroups: set[Path] = set()
    for _ in range(5):
        if not (pids := processes_on(folder)):
            break
        for pid in pids:
            cgroups |= cgroups_of(pid)
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        end = time.monotonic() + 5
        while any(map(alive, pids)) and time.monotonic() < end:
            time.sleep(0.02)
    unmount_below(folder)
    namespaces = os.listdir(tasks) if os.path.isdir(tasks := folder / "state/io.containerd.runtime.v2.task") else []
    shutil.rmtree(folder, ignore_errors=True)
    for path in cgroups:
        for level in (path, path.parent):
            with suppress(OSError):
                level.rmdir()
    for namespace in namespaces:
        remove_cgroups(namespace)


def mounts_and_processes(folder: Path) -> list[str]:
    """What there still is of a daemon that has stopped: mount points, and processes by pid."""
    return [*mounts_below(folder), *(f"process {pid}" for pid in processes_on(folder))]


def remove_cgroups(namespace: str) -> None:
    """Remove the empty cgroups `/<namespace>` that runtimes leave, as no container of it is there any more."""
    top = Path("/sys/fs/cgroup")
    for path in [*top.glob(namespace), *top.glob(f"*/{namespace}")]:
        with suppress(OSError):
            path.rmdir()


def processes_on(folder: Path) -> list[int]:
    """Live processes that have to do with `folder`: this one's own excepted."""
    mine = os.readlink("/proc/self/ns/mnt")
    pids = (int(entry) for entry in os.listdir("/proc") if entry.isdigit())
    return [pid for pid in pids if pid != os.getpid() and alive(pid) and _concerns(pid, str(folder), mine)]


def cgroups_of(pid: int) -> set[Path]:
    """The cgroups below the root that a process is in, where cgroup v1 controllers or v2 are mounted."""
    found: set[Path] = set()
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            mount = controllers.removeprefix("name=") or "unified"
            if path != "/":
                found |= {Path(f"/sys/fs/cgroup/{mount}{path}"), Path(f"/sys/fs/cgroup{path}")}
    return found


def _concerns(pid: int, folder: str, mine: str) -> bool:
    proc = Path(f"/proc/{pid}")
    try:
        if folder in (proc / "cmdline").read_text(errors="replace") or os.readlink(proc / "cwd").startswith(folder):
            return True
        if os.readlink(proc / "ns/mnt") != mine:
            # Only the root counts: a mount namespace just made has copies of the mounts of every other test too.
            lines = (proc / "mountinfo").read_text(errors="replace").splitlines()
            return any(folder in line for line in lines if line.split()[4] == "/")
        return any(os.readlink(proc / "fd" / fd).startswith(f"{folder}/") for fd in os.listdir(proc / "fd"))
    except OSError:
        return False
