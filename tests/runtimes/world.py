"""A runtime on its own folders with real runc, an events service that listens, and a busybox root file system."""

import asyncio
import contextlib
import json
import os
import select
import shutil
import signal
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from corten.api.services.ttrpc.events.v1 import events_pb2
from corten.api.ttrpc import request_pb2
from corten.contracts.mounts import Mount
from corten.contracts.objects import AnyValue, RuntimeInfo
from corten.contracts.runtime import CreateOptions, Runtime, Stdio
from corten.linux import mount
from corten.plugin.types import EVENT, RUNTIME, SHIM
from corten.pools import Pools
from corten.supervisor import Supervisor
from corten.testing.context import FakeContext
from corten.testing.events import RecordingExchange
from corten.wire.ttrpc import frames
from corten.zygote.client import Zygote
from corten_runtimes.config import BinaryConfig, RuncConfig
from corten_runtimes.registration import plugins

NAMESPACE = "testing"
RUNC = "io.containerd.runc.v2"
APPLETS = (
    "sh",
    "true",
    "false",
    "cat",
    "sleep",
    "echo",
    "kill",
    "stty",
    "seq",
    "head",
    "dd",
    "yes",
    "ls",
    "id",
    "test",
)


class EventsService:
    """The ttrpc events service of a daemon: remembers what shims forward, while it runs."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.envelopes: list[Any] = []
        self._server: asyncio.AbstractServer | None = None
        self._writers: list[asyncio.StreamWriter] = []

    async def start(self) -> None:
        self._server = await asyncio.start_unix_server(self._serve, self.path)

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        for writer in self._writers:
            writer.close()
        self._writers.clear()
        Path(self.path).unlink(missing_ok=True)

    def topics(self, id: str) -> list[str]:
        return [topic for topic, event in self.events() if getattr(event, "container_id", "") == id]

    def events(self) -> list[tuple[str, Any]]:
        from corten.api.events import task_pb2

        def unpack(envelope: Any) -> Any:
            name = envelope.event.type_url.rpartition(".")[2]
            return getattr(task_pb2, name).FromString(envelope.event.value)

        return [(envelope.topic, unpack(envelope)) for envelope in self.envelopes]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.append(writer)
        decoder = frames.Decoder()
        with contextlib.suppress(ConnectionError, asyncio.CancelledError):
            while data := await reader.read(65536):
                for frame in decoder.feed(data):
                    assert isinstance(frame, frames.Frame)
                    request = request_pb2.Request.FromString(frame.data)
                    self.envelopes.append(events_pb2.ForwardRequest.FromString(request.payload).envelope)
                    answer = request_pb2.Response().SerializeToString()
                    writer.write(frames.encode(frame.stream, frames.RESPONSE, answer))
        writer.close()


class World:
    """Folders, zygote and events service outlive a runtime, so that a second one can take over from a first."""

    def __init__(self, folder: Path, zygote: Zygote) -> None:
        self.folder, self.zygote = folder, zygote
        self.events = EventsService(str(folder / "e.ttrpc"))
        self.exchange = RecordingExchange()
        self.config = RuncConfig()
        self.binary = BinaryConfig()
        self._number = 0
        self.pools = Pools()

    @property
    def state(self) -> Path:
        return self.folder / "st"

    @property
    def tasks(self) -> Path:
        return self.state / "io.containerd.runtime.v2.task" / NAMESPACE

    async def runtime(self) -> Any:
        """A runtime as the daemon would start it."""
        shims: dict[Any, Any] = {}
        supervisor = Supervisor()
        shim_plugins = [registration for registration in plugins() if registration.type == SHIM]
        task_plugin = next(registration for registration in plugins() if registration.type == RUNTIME)
        common: dict[str, Any] = {
            "workers": self.zygote,
            "pools": self.pools,
            "supervisor": supervisor,
            "ttrpc_address": self.events.path,
            "grpc_address": str(self.folder / "e"),
        }
        for registration in shim_plugins:
            config = {"runc": self.config, "binary": self.binary}.get(registration.id)
            context = self._context(registration, config=config, **common)
            shims[(SHIM, registration.id)] = registration.init(context)
        instances: dict[Any, Any] = {**shims, (EVENT, "exchange"): self.exchange}
        runtime: Any = task_plugin.init(self._context(task_plugin, instances=instances, **common))
        await runtime.start()
        return runtime

    def _context(self, registration: Any, **rest: Any) -> Any:
        uri = registration.uri
        return FakeContext(self.folder / "rt" / uri, self.state / uri, registration=registration, **rest)

    def id(self, prefix: str = "c") -> str:
        self._number += 1
        return f"{prefix}{os.getpid()}-{self._number}"

    def fifo(self) -> str:
        self._number += 1
        path = str(self.folder / f"fifo{self._number}")
        os.mkfifo(path)
        return path

    def options(self, *args: str, stdio: Stdio | None = None, runtime: str = RUNC, **changes: Any) -> CreateOptions:
        stdio = stdio or Stdio()
        changes.setdefault("cgroupsPath", f"/{self.id('crt')}")  # tests run side by side
        document = spec(args, terminal=stdio.terminal, **changes)
        return CreateOptions(
            spec=json.dumps(document).encode(),
            rootfs=[Mount("bind", str(self.folder / "rootfs"), "", ("rbind", "rw"))],
            stdio=stdio,
            runtime=RuntimeInfo(runtime),
        )

    def remains(self) -> list[str]:
        """What a runtime without tasks should not have left."""
        found = [str(path) for path in self.tasks.iterdir()] if self.tasks.exists() else []
        found += [str(path) for path in self.state.glob("s/*")] + [str(path) for path in self.state.glob("runc/*/*")]
        found += [str(path) for path in Path("/sys/fs/cgroup").glob(f"*/crt{os.getpid()}-*")]
        found += [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if f"{self.folder}/" in line]
        return found

    async def left_nothing(self) -> None:
        """A shim that was asked to end does so once its events are delivered: that may be after the task is deleted."""
        deadline = time.monotonic() + 10
        while found := self.remains():
            assert time.monotonic() < deadline, f"left over: {found}"
            await asyncio.sleep(0.01)


def process(args: Sequence[str], *, terminal: bool = False) -> AnyValue:
    """An OCI process as an exec has it."""
    document = spec(args, terminal=terminal)["process"]
    return AnyValue("types.containerd.io/opencontainers/runtime-spec/1/Process", json.dumps(document).encode())


def spec(args: Sequence[str], *, terminal: bool = False, private_pids: bool = True, **linux: Any) -> dict[str, Any]:
    """A small OCI spec, written by hand."""
    kinds = ["ipc", "uts", "mount", *(["pid"] if private_pids else [])]
    capabilities = ["CAP_KILL", "CAP_CHOWN", "CAP_DAC_OVERRIDE"]
    return {
        "ociVersion": "1.0.2",
        "process": {
            "terminal": terminal,
            "user": {"uid": 0, "gid": 0},
            "args": list(args),
            "env": ["PATH=/bin"],
            "cwd": "/",
            "capabilities": dict.fromkeys(("bounding", "effective", "permitted"), capabilities),
        },
        "root": {"path": "rootfs"},
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755"]},
            {
                "destination": "/dev/pts",
                "type": "devpts",
                "source": "devpts",
                "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"],
            },
        ],
        "linux": {"namespaces": [{"type": kind} for kind in kinds], **linux},
    }


@contextlib.contextmanager
def folder() -> Iterator[Path]:
    """A short path with a busybox root file system in it."""
    path = Path(tempfile.mkdtemp(prefix="crt"))
    try:
        for name in ("bin", "proc", "dev", "tmp", "sys"):
            (path / "rootfs" / name).mkdir(parents=True)
        shutil.copy("/bin/busybox", path / "rootfs/bin/busybox")
        for applet in APPLETS:
            (path / "rootfs/bin" / applet).symlink_to("busybox")
        yield path
    finally:
        mount.unmount_all(path)
        shutil.rmtree(path)


@contextlib.asynccontextmanager
async def opened(path: Path, zygote: Zygote) -> AsyncIterator[World]:
    """A world with its events service running."""
    world = World(path, zygote)
    await world.events.start()
    try:
        yield world
    finally:
        await world.events.stop()
        world.pools.close()


async def eventually(check: Callable[[], Any], seconds: float = 10.0) -> Any:
    """Wait until `check` returns something true."""
    deadline = time.monotonic() + seconds
    while not (value := check()):
        assert time.monotonic() < deadline, f"not true within {seconds} s"
        await asyncio.sleep(0.01)
    return value


def alive(pid: int) -> bool:
    """Whether the process runs; one that only waits to be reaped does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def shim_processes(shim: int) -> list[int]:
    """The keeper of a shim, whose pid is the shim's, and its worker if it has one now."""
    children = map(int, Path(f"/proc/{shim}/task/{shim}/children").read_text().split())
    return [shim, *(pid for pid in children if _name(pid) == "corten-shim")]


def _name(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""  # it has ended


def signal_shim(shim: int, number: int) -> None:
    """Send a signal to all of a shim; returns when SIGKILL has ended it."""
    os.kill(shim, signal.SIGSTOP)  # it forks no worker now
    pids = shim_processes(shim)
    for pid in reversed(pids):
        os.kill(pid, number)
    deadline = time.monotonic() + 10
    while number == signal.SIGKILL and any(map(alive, pids)):
        assert time.monotonic() < deadline, pids
        time.sleep(0.002)


class Reader:
    """A client at the reading end of a FIFO, opened as containerd's clients do before the task exists."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.data = b""
        self.ended = asyncio.Event()
        self.fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        self._seen = False
        self._task = asyncio.create_task(self._read())

    async def _read(self) -> None:
        while True:
            try:
                piece = os.read(self.fd, 1 << 20)
            except BlockingIOError:
                self._seen = True
                await asyncio.sleep(0.002)
                continue
            if piece:
                self._seen = True
                self.data += piece
            elif self._seen or _hung_up(self.fd):
                break
            else:
                await asyncio.sleep(0.002)  # no writer yet
        os.close(self.fd)
        self.ended.set()

    async def end(self, seconds: float = 10.0) -> bytes:
        """All of it, at its end."""
        async with asyncio.timeout(seconds):
            await self.ended.wait()
        return self.data

    async def leave(self) -> None:
        """Go away without reading on."""
        self._task.cancel()
        os.close(self.fd)


def _hung_up(fd: int) -> bool:
    """Whether there was a writer since the FIFO was opened, and is none any more (poll(2), POLLHUP)."""
    waiting = select.poll()
    waiting.register(fd, select.POLLIN)
    return any(events & select.POLLHUP for _, events in waiting.poll(0))


def metadata(value: AnyValue) -> Mapping[str, Any]:
    """A JSON AnyValue, decoded."""
    decoded: Mapping[str, Any] = json.loads(value.value)
    return decoded


__all__ = ["NAMESPACE", "RUNC", "EventsService", "Reader", "Runtime", "World", "eventually", "folder", "opened"]
