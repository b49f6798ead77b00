"""Real peers for tests, each on its own folder, socket and free loopback port: a registry, Debian's containerd, ctr."""

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path


def free_port() -> int:
    """A loopback port nobody listens on just now."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


def wait_until(condition: Callable[[], object], what: str, timeout: float = 20.0) -> None:
    """Poll until `condition()` is true; a test that waits in vain says for what."""
    end = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > end:
            raise AssertionError(f"waited {timeout} s in vain: {what}")
        time.sleep(0.02)


def listening(port: int) -> bool:
    with socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", port)) == 0


def stop(process: subprocess.Popen[bytes], timeout: float = 15.0) -> None:
    """End a process this test started: SIGTERM, then SIGKILL."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(timeout)
        except subprocess.TimeoutExpired:
            process.kill()
    process.wait()


@contextmanager
def registry(folder: Path, *, locked: bool = False) -> Iterator[str]:
    """Debian's docker-registry over plain http; yields `127.0.0.1:PORT`. `locked`: it wants ann with `secret`."""
    port = free_port()
    folder.mkdir(parents=True, exist_ok=True)
    config = folder / "registry.yml"
    config.write_text(
        f"version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {folder}/data}}}}\n"
        f"http: {{addr: 127.0.0.1:{port}}}\n"
        + (f"auth: {{htpasswd: {{realm: r, path: {folder}/htpasswd}}}}\n" if locked else "")
    )
    script = 'print "ann:" . crypt("secret", "\\$2y\\$04\\$abcdefghijklmnopqrstuu")'
    if locked:
        hashed = subprocess.run(["perl", "-e", script], capture_output=True, check=True).stdout
        (folder / "htpasswd").write_bytes(hashed)
    with (folder / "registry.log").open("wb") as log:
        process = subprocess.Popen(["docker-registry", "serve", str(config)], stdout=log, stderr=log)
        try:
            wait_until(lambda: listening(port), "docker-registry listens")
            yield f"127.0.0.1:{port}"
        finally:
            stop(process)


@contextmanager
def containerd(folder: Path, program: str = "containerd") -> Iterator[str]:
    """Debian's containerd, or another, on its own root, state and socket; yields the address."""
    folder.mkdir(parents=True, exist_ok=True)
    address = f"{folder}/c.sock"
    config = folder / "config.toml"
    config.write_text(
        f'version = 2\nroot = "{folder}/root"\nstate = "{folder}/state"\n'
        f'disabled_plugins = ["io.containerd.grpc.v1.cri"]\n'
        f'[grpc]\naddress = "{address}"\n'
    )
    with (folder / "containerd.log").open("wb") as log:
        process = subprocess.Popen([program, "-c", str(config)], stdout=log, stderr=log)
        try:
            wait_until(lambda: Ctr(address).try_("version").returncode == 0, "containerd answers")
            yield address
        finally:
            stop(process)
            unmount_below(folder)


def unmount_below(folder: Path) -> None:
    """Lazily unmount whatever a killed daemon left mounted under `folder`."""
    points = [line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines()]
    for point in sorted((p for p in points if p.startswith(f"{folder}/")), reverse=True):
        subprocess.run(["umount", "-l", point], check=False, capture_output=True)


def mounts_below(folder: Path) -> list[str]:
    """Mount points under `folder`."""
    points = [line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines()]
    return [p for p in points if p.startswith(f"{folder}/")]


@dataclass(frozen=True)
class Ctr:
    """Debian's `ctr`, unmodified, against one address and namespace."""

    address: str
    namespace: str = "default"
    binary: str = shutil.which("ctr") or "ctr"

    def argv(self, *args: str) -> list[str]:
        return [self.binary, "--address", self.address, "--namespace", self.namespace, *args]

    def __call__(self, *args: str, timeout: float = 60.0, input: str | None = None) -> str:
        """Run it; standard output. A failure fails the test with what it printed."""
        done = self.try_(*args, timeout=timeout, input=input)
        assert done.returncode == 0, f"ctr {' '.join(args)}: exit {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def try_(self, *args: str, timeout: float = 60.0, input: str | None = None) -> subprocess.CompletedProcess[str]:
        """Run it whatever comes of it."""
        stdin = None if input is not None else subprocess.DEVNULL
        return subprocess.run(
            self.argv(*args), capture_output=True, text=True, timeout=timeout, check=False, input=input, stdin=stdin
        )

    def start(self, *args: str) -> subprocess.Popen[str]:
        """Run it beside the test, with pipes."""
        return subprocess.Popen(
            self.argv(*args), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )


def alive(pid: int) -> bool:
    """Whether a process is there and not a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def processes_with(text: str) -> list[int]:
    """Pids of live processes whose command line or mounts name `text` (a test's own folder)."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            if text in (entry / "cmdline").read_text().replace("\0", " ") and alive(int(entry.name)):
                found.append(int(entry.name))
        except OSError:
            continue
    return found
