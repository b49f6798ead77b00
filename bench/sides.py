"""The two sides of a comparison: cortend and a containerd, each on its own folder, memory-backed unless told otherwise.

The containerd is Debian's, or that of the folder `CORTEN_PEERS`, which then has `containerd`, `ctr` and
`containerd-shim-runc-v2`; its `ctr` is the client of both sides.
"""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

TMPFS = "/dev/shm"
BIN = Path(sys.executable).parent
PEERS = os.environ.get("CORTEN_PEERS", "")
PEER_ENV = {**os.environ, "PATH": f"{PEERS}:{os.environ['PATH']}"} if PEERS else dict(os.environ)


def peer(name: str) -> str:
    """A program of the peer."""
    return f"{PEERS}/{name}" if PEERS else name


def peer_version() -> tuple[int, int]:
    """Major and minor version of the containerd measured against."""
    words = subprocess.run([peer("containerd"), "--version"], capture_output=True, text=True, check=True).stdout.split()
    major, minor = words[2].lstrip("v").split(".")[:2]
    return int(major), int(minor)


@dataclass
class Side:
    """A daemon under measurement; `ctr` is Debian's for both sides."""

    name: str
    folder: Path
    process: "subprocess.Popen[bytes] | None" = None

    @property
    def address(self) -> str:
        return f"{self.folder}/c.sock"

    def argv(self) -> list[str]:
        """How this side's daemon is started."""
        own = ["--root", f"{self.folder}/root", "--state", f"{self.folder}/state", "--address", self.address]
        program = str(BIN / "cortend") if self.name == "corten" else peer("containerd")
        return [program, "-c", str(self._without_cri()), *own, "-l", "warn"]

    def ctr(self, *args: str) -> list[str]:
        return [peer("ctr"), "--address", self.address, "--namespace", "bench", *args]

    def run(self, *args: str) -> str:
        """Run ctr to its end; standard output."""
        done = subprocess.run(self.ctr(*args), capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
        if done.returncode:
            raise RuntimeError(f"{self.name}: ctr {' '.join(args)}: {done.stderr.strip()}")
        return done.stdout

    def start(self) -> float:
        """Start the daemon; seconds until it answered its first call."""
        with (self.folder / "log").open("ab") as log:
            began = time.perf_counter()
            env = dict(os.environ) if self.name == "corten" else PEER_ENV
            self.process = subprocess.Popen(self.argv(), stdout=log, stderr=log, start_new_session=True, env=env)
        while subprocess.run(self.ctr("version"), capture_output=True, check=False).returncode:
            if self.process.poll() is not None or time.perf_counter() - began > 60:
                raise RuntimeError(f"{self.name} did not start:\n{(self.folder / 'log').read_text()[-2000:]}")
        return time.perf_counter() - began

    def end(self, number: int = signal.SIGTERM) -> None:
        """End the daemon alone."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(number)
            self.process.wait(30)

    def pids(self) -> dict[str, list[int]]:
        """Pids of the daemon (with helpers) and of the shims."""
        found: dict[str, list[int]] = {"daemon": [], "shims": []}
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and (kind := self._kind(entry)):
                found[kind].append(int(entry.name))
        return found

    def family(self) -> list[int]:
        """Pids of the daemon and of all that descends from it."""
        assert self.process is not None
        children: dict[int, list[int]] = {}
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                except OSError:
                    continue
                children.setdefault(parent, []).append(int(entry.name))
        found = [self.process.pid]
        for pid in found:
            found += children.get(pid, ())
        return found

    def _kind(self, proc: Path) -> str:
        try:
            words = (proc / "cmdline").read_bytes().decode(errors="replace").split("\0")
            if self.process is not None and proc.name == str(self.process.pid):
                return "daemon"
            line = " ".join(words)
            if not line or (str(self.folder) not in f"{line} {os.readlink(proc / 'cwd')}" and not self._child(proc)):
                return ""
            name = (proc / "comm").read_text().strip()
        except OSError:
            return ""
        if "shim" in name:
            return "shims"
        return "daemon" if "zygote" in line else ""

    def _child(self, proc: Path) -> bool:
        assert self.process is not None
        return (proc / "stat").read_text().rpartition(")")[2].split()[1] == str(self.process.pid)

    def _without_cri(self) -> Path:
        """The same for both sides: what is measured here is the daemon of a Docker host (bench/pods.py has pods)."""
        path = self.folder / "config.toml"
        cri = ["grpc.v1.cri", *(["cri.v1.images", "cri.v1.runtime"] if peer_version() >= (2, 0) else [])]
        disabled = ", ".join(f'"io.containerd.{id}"' for id in cri)
        path.write_text(f"version = {3 if peer_version() >= (2, 0) else 2}\ndisabled_plugins = [{disabled}]\n")
        return path


def pss(pid: int) -> int:
    """Proportional set size in KiB (proc(5), smaps_rollup); 0 once the process is gone."""
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:
        return 0
    return next(int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:"))


def file_system(folder: str) -> str:
    """The type of the file system that a folder lies on, as mount(8) calls it."""
    argv = ["stat", "--file-system", "--format=%T", folder]
    return subprocess.run(argv, capture_output=True, text=True, check=True).stdout.strip()


@contextmanager
def sides(within: str = TMPFS) -> Iterator[list[Side]]:
    """Both daemons started, their stores in folders `within`; cleared away at the end with all they left."""
    folder = Path(tempfile.mkdtemp(prefix="cb-", dir=within))
    both = [Side(name, folder / short) for name, short in (("corten", "a"), ("containerd", "b"))]
    try:
        for side in both:
            side.folder.mkdir()
            side.start()
        yield both
    finally:
        for side in both:
            clear(side)
        shutil.rmtree(folder, ignore_errors=True)


def clear(side: Side) -> None:
    """Remove tasks, end the daemon, unmount."""
    if side.process is not None and side.process.poll() is None:
        for task in side.run("tasks", "ls", "-q").split():
            subprocess.run(side.ctr("tasks", "rm", "-f", task), capture_output=True, check=False)
    left = side.pids()["shims"] if side.process else []
    side.end()
    for pid in left:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
    for line in reversed(Path("/proc/self/mounts").read_text().splitlines()):
        if line.split()[1].startswith(f"{side.folder}/"):
            subprocess.run(["umount", "-l", line.split()[1]], check=False, capture_output=True)
