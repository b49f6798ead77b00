"""In memory: the parts of a metadata store and a runtime that service tests need."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

from corten.contracts.metadata import Metadata
from corten.contracts.mounts import Mount
from corten.contracts.objects import AnyValue, Container
from corten.contracts.runtime import CreateOptions, Exit, ProcessState, Runtime, Status, Stdio, Task
from corten.contracts.scope import Scope
from corten.errors import AlreadyExists, FailedPrecondition, InvalidArgument, NotFound
from corten.plugin.model import PluginContext, Registration
from corten.testing.context import FakeContext
from corten.testing.memory_content import MemoryContent
from corten.wire.service import Service, ServiceProvider
from corten_services.registration import plugins

MakeContext = Callable[..., FakeContext]
"""Makes contexts that are closed when the test ends; arguments as of `FakeContext` but for its folders."""
REGISTRATIONS: Mapping[str, Registration] = {each.uri: each for each in plugins()}


def started(uri: str, context: object) -> Any:
    """The instance of a plugin of this package."""
    return REGISTRATIONS[uri].init(cast("PluginContext", context))


def service(id: str, context: object) -> Service:
    """The one service of a grpc plugin of this package."""
    provider = cast("ServiceProvider", started(f"io.containerd.grpc.v1.{id}", context))
    return provider.services[0]


class Records:
    """Content by namespace, containers in a dictionary, and one snapshot."""

    def __init__(self) -> None:
        self.stores: dict[str, MemoryContent] = {}
        self.records: dict[tuple[str, str], Container] = {}
        self.snapshot_mounts = [Mount("overlay", "overlay", options=("lowerdir=/a",))]

    def content(self, scope: Scope) -> MemoryContent:
        return self.stores.setdefault(scope.namespace, MemoryContent())

    def containers(self, scope: Scope) -> Any:
        return _Containers(self.records, scope.namespace)

    def snapshotter(self, scope: Scope, name: str) -> Any:
        if name != "overlayfs":
            raise InvalidArgument(f"snapshotter not loaded: {name}")
        return _Snapshots(self.snapshot_mounts)

    def as_metadata(self) -> Metadata:
        return cast("Metadata", self)


class _Containers:
    def __init__(self, records: Mapping[tuple[str, str], Container], namespace: str) -> None:
        self._records, self._namespace = records, namespace

    def get(self, id: str) -> Container:
        try:
            return self._records[self._namespace, id]
        except KeyError:
            raise NotFound(f'container "{id}"') from None


class _Snapshots:
    def __init__(self, mounts: list[Mount]) -> None:
        self._mounts = mounts

    def mounts(self, key: str) -> list[Mount]:
        return self._mounts


class MemoryTask:
    """A task of processes that run until they are killed."""

    def __init__(self, namespace: str, id: str, options: CreateOptions, forget: Callable[[], None]) -> None:
        self.namespace, self.id, self.options = namespace, id, options
        self.pid = 100
        self.waiters = 0
        self.calls: list[tuple[Any, ...]] = []
        self.processes = {"": _Process(self.pid, options.stdio)}
        self._forget = forget

    def look(self) -> Any:
        """All that calls can change."""
        states = {id: (process.status, process.exit_status) for id, process in self.processes.items()}
        return self.id, states, [call[0] for call in self.calls], self.waiters

    async def start(self, exec_id: str = "") -> int:
        process = await self._process(exec_id)
        if process.status is not Status.CREATED:
            raise FailedPrecondition("it was started before")
        process.status = Status.RUNNING
        return process.pid

    async def state(self, exec_id: str = "") -> ProcessState:
        process = await self._process(exec_id)
        if process.hangs:
            await asyncio.sleep(3600)
        return ProcessState(self.id, exec_id, process.pid, process.status, process.stdio, process.exit_status, 1)

    async def kill(self, signal: int, exec_id: str = "", *, all: bool = False) -> None:
        process = await self._process(exec_id)
        process.exit_status, process.status = 128 + signal, Status.STOPPED
        process.ended.set()

    async def exec(self, exec_id: str, spec: AnyValue, stdio: Stdio) -> None:
        await asyncio.sleep(0)
        if exec_id in self.processes:
            raise AlreadyExists(f'exec "{exec_id}"')
        self.processes[exec_id] = _Process(self.pid + len(self.processes), stdio)

    async def resize_pty(self, width: int, height: int, exec_id: str = "") -> None:
        self.calls.append(("resize", width, height, exec_id))

    async def close_stdin(self, exec_id: str = "") -> None:
        self.calls.append(("close_stdin", exec_id))

    async def pause(self) -> None:
        self.processes[""].status = Status.PAUSED

    async def resume(self) -> None:
        self.processes[""].status = Status.RUNNING

    async def pids(self) -> Sequence[tuple[int, AnyValue | None]]:
        return [(process.pid, AnyValue("x", b"y") if id else None) for id, process in self.processes.items()]

    async def update(self, resources: AnyValue, annotations: Mapping[str, str]) -> None:
        self.calls.append(("update", resources, dict(annotations)))

    async def stats(self) -> AnyValue:
        return AnyValue("io.containerd.cgroups.v1.Metrics", b"m")

    async def wait(self, exec_id: str = "") -> Exit:
        process = await self._process(exec_id)
        self.waiters += 1
        try:
            await process.ended.wait()
        finally:
            self.waiters -= 1
        return Exit(process.pid, process.exit_status, 1_000_000_002)

    async def delete(self, exec_id: str = "") -> Exit:
        process = await self._process(exec_id)
        if process.status is Status.RUNNING:
            raise FailedPrecondition("it is running")
        del self.processes[exec_id]
        if not exec_id:
            self._forget()
        return Exit(process.pid, process.exit_status, 1_000_000_002)

    async def checkpoint(self, path: str, options: AnyValue | None) -> None:
        self.calls.append(("checkpoint", path))

    async def attach(self, stdio: Stdio, exec_id: str = "", *, holds_up: bool = False) -> None:
        self.calls.append(("attach", stdio, exec_id))

    async def reopen_log(self) -> None:
        self.calls.append(("reopen_log",))

    async def _process(self, exec_id: str) -> "_Process":
        await asyncio.sleep(0)
        if exec_id not in self.processes:
            raise NotFound(f'exec "{exec_id}" of task "{self.id}"')
        return self.processes[exec_id]


class _Process:
    def __init__(self, pid: int, stdio: Stdio) -> None:
        self.pid, self.stdio = pid, stdio
        self.status = Status.CREATED
        self.exit_status = 0
        self.ended = asyncio.Event()
        self.hangs = False


class MemoryRuntime:
    """Tasks in a dictionary."""

    def __init__(self) -> None:
        self.tasks: dict[tuple[str, str], MemoryTask] = {}
        self.prepared: list[str] = []
        self.fails: Exception | None = None

    async def create(self, namespace: str, id: str, options: CreateOptions) -> Task:
        await asyncio.sleep(0)
        if self.fails:
            raise self.fails
        if (namespace, id) in self.tasks:
            raise AlreadyExists(f'task "{id}"')
        task = MemoryTask(namespace, id, options, lambda: self.tasks.__delitem__((namespace, id)))
        self.tasks[namespace, id] = task
        return task

    async def get(self, namespace: str, id: str) -> Task:
        await asyncio.sleep(0)
        if (namespace, id) not in self.tasks:
            raise NotFound(f'task "{id}" in {namespace}')
        return self.tasks[namespace, id]

    async def list(self, namespace: str) -> Sequence[Task]:
        return [task for (own, _), task in self.tasks.items() if own == namespace]

    async def prepare(self, runtime: str) -> None:
        self.prepared.append(runtime)

    async def plugin_info(self, runtime_path: str, options: AnyValue | None) -> AnyValue:
        return AnyValue("containerd.types.RuntimeInfo", runtime_path.encode())

    def as_runtime(self) -> Runtime:
        return self
