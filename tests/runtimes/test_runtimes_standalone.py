"""The own shim as a program: real containerd runs containers with it, driven by `ctr`; and each way to be asked."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import peers
import procfs
import pytest
from corten import CONTAINERD_VERSION, REVISION
from corten.api.runtime.bootstrap.v1.bootstrap_pb2 import BootstrapParams, BootstrapResult
from corten.api.runtime.task.v2.shim_pb2 import DeleteResponse
from corten.api.types.introspection_pb2 import RuntimeInfo
from corten.errors import InvalidArgument
from corten_runtimes.standalone import main, place, runc
from daemon import remove_cgroups
from runtimes.world import NAMESPACE, World, alive, folder, spec

RUNTIME = "io.containerd.corten.v1"
PROGRAM = Path(sys.executable).with_name(main.NAME)
DAEMONS = [
    pytest.param(
        binary,
        marks=pytest.mark.skipif(not binary, reason=f"no {name}"),
        id=name.split()[0],
    )
    for name, binary in (
        ("containerd on PATH", shutil.which("containerd") or ""),
        ("CORTEN_CONTAINERD2 in the environment", os.environ.get("CORTEN_CONTAINERD2", "")),
    )
]


@contextmanager
def _containerd(binary: str, path: Path) -> Iterator[peers.Ctr]:
    address = f"{path}/c.sock"
    (path / "config.toml").write_text(
        f'version = 2\nroot = "{path}/root"\nstate = "{path}/state"\n'
        f'disabled_plugins = ["io.containerd.grpc.v1.cri"]\n[grpc]\naddress = "{address}"\n'
    )
    environ = {**os.environ, "PATH": f"{PROGRAM.parent}:{os.environ['PATH']}"}
    with (path / "containerd.log").open("wb") as log:
        process = subprocess.Popen([binary, "-c", str(path / "config.toml")], stdout=log, stderr=log, env=environ)
        ctr = peers.Ctr(address, f"crt{os.getpid()}")
        try:
            peers.wait_until(lambda: ctr.try_("version").returncode == 0, "containerd answers")
            yield ctr
        finally:
            peers.stop(process)
            peers.unmount_below(path)
            remove_cgroups(ctr.namespace)
            shutil.rmtree(Path(runc.ROOT, ctr.namespace), ignore_errors=True)


@pytest.fixture(scope="module")
def standing() -> Iterator[list[str]]:
    """Folders whose zygotes must end by themselves, which they are seen to do once, after all tests."""
    folders: list[str] = []
    yield folders
    peers.wait_until(lambda: not any(map(os.path.exists, folders)), "the zygotes have ended and cleared up", 30)


@pytest.fixture
def path() -> Iterator[Path]:
    with folder() as path:
        yield path


def _run(path: Path, *args: str) -> list[str]:
    return ["run", "--runtime", RUNTIME, "--rootfs", *args[:-1], str(path / "rootfs"), args[-1]]


def _terminal(argv: list[str]) -> str:
    done = subprocess.run(["script", "-qec", " ".join(argv), "/dev/null"], capture_output=True, timeout=60, check=False)
    return done.stdout.decode()


@pytest.mark.integration
@pytest.mark.parametrize("binary", DAEMONS)
def test_containerd_runs_a_whole_life_with_it(binary: str, path: Path, standing: list[str]) -> None:
    root = str(path / "rootfs")
    run = ("run", "--runtime", RUNTIME, "--rootfs")
    with _containerd(binary, path) as ctr:
        assert ctr(*run, "--rm", root, "one", "/bin/echo", "hello") == "hello\n"
        failed = ctr.try_(*run, "--rm", root, "no", "/bin/sh", "-c", "exit 9")
        assert failed.returncode == 9
        ctr(*run, "-d", root, "two", "/bin/sleep", "600")
        assert ctr("task", "exec", "--exec-id", "e", "two", "/bin/echo", "inside") == "inside\n"
        assert ctr.try_("task", "exec", "--exec-id", "f", "two", "/bin/sh", "-c", "exit 7").returncode == 7
        assert "memory" in ctr("task", "metrics", "two")
        ctr("task", "pause", "two")
        assert "PAUSED" in ctr("task", "ls")
        ctr("task", "resume", "two")
        assert "RUNNING" in ctr("task", "ls")
        shown = _terminal(ctr.argv(*run, "--rm", "-t", root, "four", "/bin/sh", "-c", "'test -t 1 && echo a terminal'"))
        assert "a terminal\r" in shown
        ctr("task", "kill", "-s", "KILL", "two")
        peers.wait_until(lambda: "STOPPED" in ctr("task", "ls"), "the task has stopped")
        ctr("task", "rm", "two")
        assert "two" not in ctr("task", "ls")
        ctr("container", "rm", "two")
    standing.append(place.folder(f"{path}/state/io.containerd.runtime.v2.task/ns/id"))
    assert list(Path(runc.ROOT, ctr.namespace).glob("*")) == []


@pytest.mark.integration
@pytest.mark.parametrize("binary", DAEMONS)
def test_a_shim_that_is_killed_under_containerd_is_cleaned_up_after(
    binary: str, path: Path, standing: list[str]
) -> None:
    with _containerd(binary, path) as ctr:
        ctr("run", "--runtime", RUNTIME, "--rootfs", "-d", str(path / "rootfs"), "doomed", "/bin/sleep", "600")
        pid = int(ctr("task", "ls", "-q") and ctr("task", "ls").splitlines()[1].split()[1])
        shim = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        assert main.NAME[:22] in Path(f"/proc/{shim}/cmdline").read_text()
        os.kill(shim, signal.SIGKILL)
        peers.wait_until(lambda: not alive(pid), "the container is killed")
        peers.wait_until(lambda: "doomed" not in ctr("task", "ls", "-q"), "the task is gone")
        ctr("container", "rm", "doomed")
    standing.append(place.folder(f"{path}/state/io.containerd.runtime.v2.task/ns/id"))


class Bundle:
    """A bundle in the manner of containerd, and the program called on it."""

    def __init__(self, path: Path, id: str, group: str = "") -> None:
        self.id, self.folder = id, path / "task" / "ns" / id
        self.folder.mkdir(parents=True)
        annotations = {"io.kubernetes.cri.sandbox-id": group} if group else {}
        document = {**spec(["/bin/sleep", "600"]), "annotations": annotations}
        (self.folder / "config.json").write_text(json.dumps(document))

    def call(self, action: str, input: bytes = b"", *flags: str) -> subprocess.CompletedProcess[bytes]:
        words = [str(PROGRAM), "-namespace", "ns", "-address", "/nowhere", "-id", self.id, *flags, action]
        return subprocess.run(words, cwd=self.folder, input=input, capture_output=True, timeout=60, check=False)

    def pid_of_shim(self) -> int:
        path = (self.folder / place.RECORD).read_text()
        found, deadline = 0, time.monotonic() + 20
        while not found and time.monotonic() < deadline:
            with socket.socket(socket.AF_UNIX) as client:
                if client.connect_ex(path.removeprefix("unix://")):
                    return 0
                found = _keeper(path)  # a worker comes for whoever connects
        return found


def _keeper(path: str) -> int:
    """The process that stays of the shim whose worker listens there."""
    for process in procfs.entries():
        try:
            if f"unix {path}" in _listening(process):
                parent = (process / "stat").read_text().rpartition(")")[2].split()[1]
                return int(parent if Path(f"/proc/{parent}/comm").read_text() == "corten-shim\n" else process.name)
        except OSError:
            continue
    return 0


def _listening(process: Path) -> str:
    inodes = {os.readlink(fd) for fd in (process / "fd").iterdir()}
    lines = (line.split() for line in Path("/proc/net/unix").read_text().splitlines()[1:])
    return "\n".join(f"unix {line[7]}" for line in lines if len(line) > 7 and f"socket:[{line[6]}]" in inodes)


@pytest.fixture
def ending(standing: list[str]) -> Iterator[list[Bundle]]:
    """Bundles whose shims are ended after the test, and their zygote with them."""
    bundles: list[Bundle] = []
    yield bundles
    for pid in {bundle.pid_of_shim() for bundle in bundles} - {0}:
        os.kill(pid, signal.SIGKILL)
    for bundle in bundles:
        bundle.call("delete")
    standing.append(place.folder(str(bundles[0].folder)))


@pytest.mark.integration
def test_starts_in_both_manners_and_groups(path: Path, ending: list[Bundle]) -> None:
    first, second, alone = Bundle(path, "a", "pod"), Bundle(path, "b", "pod"), Bundle(path, "c")
    ending += [first, second, alone]
    started = first.call("start")
    assert started.returncode == 0, started.stderr
    address = started.stdout.decode()
    assert address.startswith("unix:///")
    assert (first.folder / "address").read_text() == address
    params = BootstrapParams(instance_id="b", namespace="ns", containerd_grpc_address="/nowhere")
    result = BootstrapResult.FromString(second.call("start", params.SerializeToString()).stdout)
    assert (result.version, result.protocol, result.address) == (3, "ttrpc", address)
    other = BootstrapParams(instance_id="someone else", namespace="ns")
    assert alone.call("start", other.SerializeToString()).stdout.decode() not in ("", address)
    assert first.pid_of_shim() == second.pid_of_shim() != alone.pid_of_shim()


@pytest.mark.integration
def test_the_zygote_may_die_and_its_shims_live_on(path: Path, ending: list[Bundle]) -> None:
    one, two = Bundle(path, "a"), Bundle(path, "b")
    ending += [one, two]
    one.call("start")
    shim = one.pid_of_shim()
    zygote = int(Path(f"/proc/{shim}/stat").read_text().rpartition(")")[2].split()[1])
    assert "corten-zygote" in Path(f"/proc/{zygote}/cmdline").read_text()
    os.kill(zygote, signal.SIGKILL)
    assert two.call("start").returncode == 0
    assert alive(shim)
    assert alive(two.pid_of_shim())


@pytest.mark.integration
def test_delete_of_what_was_never_started(path: Path) -> None:
    done = Bundle(path, "a").call("delete")
    assert done.returncode == 0, done.stderr
    answer = DeleteResponse.FromString(done.stdout)
    assert answer.exit_status == 137
    assert abs(answer.exited_at.seconds - time.time()) < 60


def test_info_and_version() -> None:
    info = RuntimeInfo.FromString(subprocess.run([PROGRAM, "-info"], input=b"", capture_output=True, check=True).stdout)
    assert (info.name, info.version.version, info.version.revision) == (RUNTIME, CONTAINERD_VERSION, REVISION)
    version = subprocess.run([PROGRAM, "-v"], capture_output=True, text=True, check=True).stdout
    assert version.startswith(f"{main.NAME}:\n  Version:")


@pytest.mark.parametrize(
    ("argv", "says"),
    [(["-id"], "needs a value"), (["-what"], "not known"), (["start"], "are needed"), (["-id=a"], "are needed"),
     (["-namespace", "n", "--id=a", "jump"], "action 'jump'")],
)  # fmt: skip
def test_command_lines_that_make_no_sense(argv: list[str], says: str) -> None:
    with pytest.raises(InvalidArgument, match=says):
        main.run(argv)


def test_flags_are_taken_as_go_takes_them() -> None:
    flags = main.parse(["-namespace", "n", "--id=a=b", "-debug", "start", "-x"])
    assert flags == ({"namespace": "n", "id": "a=b"}, frozenset({"debug"}), "start")


@pytest.mark.integration
async def test_a_bundle_of_the_own_shim_names_the_program_that_is_the_same(
    runtime: Any, world: World, standing: list[str]
) -> None:
    """Tools copy it, and have it run the next task by its path."""
    task = await runtime.create(NAMESPACE, world.id(), world.options("/bin/sleep", "600"))
    named = Path((world.tasks / task.id / "shim-binary-path").read_text())
    assert named == PROGRAM
    copy = str(shutil.copy(named, world.folder))
    other = replace(world.options("/bin/sh", "-c", "exit 7"), runtime_path=copy)
    by_path = await runtime.create(NAMESPACE, world.id(), other)
    assert (world.tasks / by_path.id / "shim-binary-path").read_text() == copy
    await by_path.start()
    assert (await by_path.wait()).status == 7
    assert (await by_path.delete()).status == 7
    standing.append(place.folder(str(world.tasks / by_path.id)))
