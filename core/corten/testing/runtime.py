"""Conformance suite of the `Runtime` contract, and `FakeRuntime`, which has tasks without processes.

A test gives the runtime and a way to make options for a command line, of which the suite uses `sleep SECONDS` and
`sh -c "exit STATUS"`:

    @pytest.mark.parametrize("check", SUITE, ids=lambda check: check.__name__)
    async def test_conformance(check):
        await check(runtime, make_options)
"""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field

from corten import identifiers
from corten.contracts.objects import AnyValue, RuntimeInfo
from corten.contracts.runtime import CreateOptions, Exit, ProcessState, Runtime, Status, Stdio, Task
from corten.errors import AlreadyExists, CortenError, FailedPrecondition, InvalidArgument, NotFound, Unimplemented

MakeOptions = Callable[[Sequence[str]], CreateOptions]
NAMESPACE = "conformance"
_SLEEP = ("sleep", "60")


async def check_life_cycle(runtime: Runtime, make: MakeOptions) -> None:
    """Created, running, stopped, deleted; each state, and what is refused in it."""
    task = await runtime.create(NAMESPACE, "life", make(_SLEEP))
    assert (task.id, task.namespace) == ("life", NAMESPACE)
    assert task.pid > 0
    state = await task.state()
    assert (state.status, state.pid, state.container_id, state.exit_status) == (Status.CREATED, task.pid, "life", 0)
    assert await task.start() == task.pid
    assert (await task.state()).status == Status.RUNNING
    await _refused(FailedPrecondition, task.start())
    await _refused(FailedPrecondition, task.delete())
    await task.kill(9)
    ended = await task.wait()
    assert ended.status == 128 + 9
    state = await task.state()
    assert (state.status, state.exit_status, state.exited_at) == (Status.STOPPED, ended.status, ended.exited_at)
    await _refused(NotFound, task.kill(9))
    deleted = await task.delete()
    assert (deleted.status, deleted.exited_at, deleted.pid) == (ended.status, ended.exited_at, task.pid)
    for gone in (task.state(), task.start(), task.kill(9), task.delete(), runtime.get(NAMESPACE, "life")):
        await _refused(NotFound, gone)


async def check_names(runtime: Runtime, make: MakeOptions) -> None:
    """Ids are unique in a namespace and free again after a delete; bad ones are refused, as are bad runtime names."""
    task = await runtime.create(NAMESPACE, "one", make(_SLEEP))
    await _refused(AlreadyExists, runtime.create(NAMESPACE, "one", make(_SLEEP)))
    assert (await runtime.get(NAMESPACE, "one")).pid == task.pid
    assert [each.id for each in await runtime.list(NAMESPACE)] == ["one"]
    assert list(await runtime.list("elsewhere")) == []
    await _refused(NotFound, runtime.get("elsewhere", "one"))
    await task.delete()
    assert list(await runtime.list(NAMESPACE)) == []
    again = await runtime.create(NAMESPACE, "one", make(_SLEEP))
    await again.delete()
    for bad in ("", "../up", "a/b", "x" * 77):
        await _refused(InvalidArgument, runtime.create(NAMESPACE, bad, make(_SLEEP)))
    await _refused(InvalidArgument, runtime.create(NAMESPACE, "named", _renamed(make(_SLEEP), "not a runtime")))


async def check_exit_codes(runtime: Runtime, make: MakeOptions) -> None:
    """A process that ends at once has its code, whoever asks and when."""
    for status in (0, 3, 255):
        task = await runtime.create(NAMESPACE, f"exit{status}", make(("sh", "-c", f"exit {status}")))
        early = asyncio.ensure_future(task.wait())
        await task.start()
        assert (await early).status == status
        assert (await task.wait()).status == status
        assert (await task.delete()).status == status


async def check_execs(runtime: Runtime, make: MakeOptions) -> None:
    """Processes beside init: added, started, ended, deleted; with codes of their own."""
    task = await runtime.create(NAMESPACE, "execs", make(_SLEEP))
    process = _process(make(("sh", "-c", "exit 7")))
    await task.start()
    await task.exec("one", process, Stdio())
    await _refused(AlreadyExists, task.exec("one", process, Stdio()))
    assert (await task.state("one")).status == Status.CREATED
    assert await task.start("one") > 0
    assert (await task.wait("one")).status == 7
    assert (await task.delete("one")).status == 7
    await _refused(NotFound, task.state("one"))
    await task.exec("two", _process(make(_SLEEP)), Stdio())
    await task.start("two")
    await _refused(FailedPrecondition, task.start("two"))
    await _refused(FailedPrecondition, task.delete("two"))
    await task.kill(9, "two")
    assert (await task.wait("two")).status == 137
    await task.delete("two")
    for bad in ("", "../x"):
        await _refused(InvalidArgument, task.exec(bad, process, Stdio()))
    await _refused(NotFound, task.kill(9, "never"))
    await _end(task)


async def check_pause(runtime: Runtime, make: MakeOptions) -> None:
    """Paused and running again; each only from the other."""
    task = await runtime.create(NAMESPACE, "pause", make(_SLEEP))
    await _refused(FailedPrecondition, task.pause())
    await task.start()
    await _refused(FailedPrecondition, task.resume())
    await task.pause()
    assert (await task.state()).status == Status.PAUSED
    await _refused(FailedPrecondition, task.pause())
    await task.resume()
    assert (await task.state()).status == Status.RUNNING
    await _end(task)


async def check_waits(runtime: Runtime, make: MakeOptions) -> None:
    """Many may wait, one may stop waiting, and all others learn the same."""
    task = await runtime.create(NAMESPACE, "waits", make(_SLEEP))
    await task.start()
    waits = [asyncio.ensure_future(task.wait()) for _ in range(50)]
    await asyncio.sleep(0.05)
    waits[0].cancel()
    await task.kill(9)
    ended = await asyncio.gather(*waits[1:])
    assert len(set(ended)) == 1
    assert ended[0].status == 137
    await task.delete()


SUITE: Sequence[Callable[[Runtime, MakeOptions], Awaitable[None]]] = (
    check_life_cycle,
    check_names,
    check_exit_codes,
    check_execs,
    check_pause,
    check_waits,
)


async def _refused(kind: type[CortenError], call: Awaitable[object]) -> None:
    try:
        await call
    except kind:
        return
    raise AssertionError(f"{kind.__name__} expected")


async def _end(task: Task) -> None:
    await task.kill(9)
    await task.wait()
    await task.delete()


def _process(options: CreateOptions) -> AnyValue:
    return AnyValue(
        "types.containerd.io/opencontainers/runtime-spec/1/Process",
        json.dumps(json.loads(options.spec)["process"]).encode(),
    )


def _renamed(options: CreateOptions, runtime: str) -> CreateOptions:
    return CreateOptions(options.spec, options.rootfs, options.stdio, RuntimeInfo(runtime))


def fake_options(args: Sequence[str], stdio: Stdio = Stdio()) -> CreateOptions:  # noqa: B008  (frozen)
    """Options for `FakeRuntime`."""
    spec = {"ociVersion": "1.0.2", "process": {"args": list(args)}}
    return CreateOptions(json.dumps(spec).encode(), (), stdio, RuntimeInfo("io.containerd.runc.v2"))


@dataclass(slots=True)
class _Process:
    pid: int
    args: Sequence[str]
    stdio: Stdio
    status: Status = Status.CREATED
    ended: "asyncio.Future[Exit]" = field(default_factory=lambda: asyncio.get_running_loop().create_future())

    def start(self) -> int:
        if self.status != Status.CREATED:
            raise FailedPrecondition(f"process {self.pid}: cannot start: it is {self.status}")
        self.status = Status.RUNNING
        words = self.args[-1].split() if self.args else []
        if words[:1] == ["exit"]:
            self.end(int(words[1]))
        return self.pid

    def end(self, status: int) -> None:
        self.status = Status.STOPPED
        self.ended.set_result(Exit(self.pid, status, time.time_ns()))

    def deleted(self) -> Exit:
        if self.status not in (Status.CREATED, Status.STOPPED):
            raise FailedPrecondition(f"process {self.pid}: cannot delete: it is {self.status}")
        if not self.ended.done():
            self.end(0)
        return self.ended.result()


class FakeTask:
    """A task without processes: `exit N` ends with N when started, everything else runs until killed."""

    def __init__(self, runtime: "FakeRuntime", namespace: str, id: str, options: CreateOptions) -> None:
        self._runtime, self._namespace, self._id = runtime, namespace, id
        args = json.loads(options.spec)["process"]["args"]
        init = _Process(runtime.next_pid(), args, options.stdio)
        self._pid = init.pid
        self.processes = {"": init}
        self.resources: AnyValue | None = None
        self.sizes: dict[str, tuple[int, int]] = {}
        self.stdin_closed: set[str] = set()

    @property
    def id(self) -> str:
        return self._id

    @property
    def namespace(self) -> str:
        return self._namespace

    @property
    def pid(self) -> int:
        return self._pid

    async def start(self, exec_id: str = "") -> int:
        return self._process(exec_id).start()

    async def state(self, exec_id: str = "") -> ProcessState:
        process = self._process(exec_id)
        ended = process.ended.result() if process.ended.done() else Exit(0, 0, 0)
        return ProcessState(
            self._id, exec_id, process.pid, process.status, process.stdio, ended.status, ended.exited_at
        )

    async def kill(self, signal: int, exec_id: str = "", *, all: bool = False) -> None:
        process = self._process(exec_id)
        if process.status == Status.STOPPED:
            raise NotFound(f"task {self._id!r}: process already finished")
        if signal in (15, 9):
            process.end(128 + signal)

    async def exec(self, exec_id: str, spec: AnyValue, stdio: Stdio) -> None:
        identifiers.validate(exec_id, "exec id")
        if exec_id in self.processes:
            raise AlreadyExists(f"exec {exec_id!r} of task {self._id!r}: already exists")
        self._require(Status.RUNNING, "exec")
        self.processes[exec_id] = _Process(self._runtime.next_pid(), json.loads(spec.value)["args"], stdio)

    async def resize_pty(self, width: int, height: int, exec_id: str = "") -> None:
        self._process(exec_id)
        self.sizes[exec_id] = (width, height)

    async def close_stdin(self, exec_id: str = "") -> None:
        self._process(exec_id)
        self.stdin_closed.add(exec_id)

    async def pause(self) -> None:
        self._require(Status.RUNNING, "pause").status = Status.PAUSED

    async def resume(self) -> None:
        self._require(Status.PAUSED, "resume").status = Status.RUNNING

    async def pids(self) -> Sequence[tuple[int, AnyValue | None]]:
        self._process("")
        return [(process.pid, None) for process in self.processes.values() if process.status == Status.RUNNING]

    async def update(self, resources: AnyValue, annotations: Mapping[str, str]) -> None:
        self._process("")
        self.resources = resources

    async def stats(self) -> AnyValue:
        self._process("")
        return AnyValue("io.containerd.cgroups.v1.Metrics", b"")

    async def wait(self, exec_id: str = "") -> Exit:
        return await asyncio.shield(self._process(exec_id).ended)

    async def delete(self, exec_id: str = "") -> Exit:
        ended = self._process(exec_id).deleted()
        del self.processes[exec_id]
        if not exec_id:
            self._runtime.tasks.pop((self._namespace, self._id))
        return ended

    async def checkpoint(self, path: str, options: AnyValue | None) -> None:
        raise Unimplemented(f"task {self._id!r}: a fake cannot be checkpointed")

    async def attach(self, stdio: Stdio, exec_id: str = "", *, holds_up: bool = False) -> None:
        raise FailedPrecondition(f"task {self._id!r}: its streams cannot be attached to: it keeps no log")

    async def reopen_log(self) -> None:
        raise FailedPrecondition(f"task {self._id!r}: it keeps no log")

    def _process(self, exec_id: str) -> _Process:
        if (self._namespace, self._id) not in self._runtime.tasks or exec_id not in self.processes:
            raise NotFound(f"process {exec_id!r} of task {self._id!r}: does not exist")
        return self.processes[exec_id]

    def _require(self, status: Status, action: str) -> _Process:
        process = self._process("")
        if process.status != status:
            raise FailedPrecondition(f"task {self._id!r}: cannot {action}: it is {process.status}")
        return process


class FakeRuntime:
    """A `Runtime` of `FakeTask`s, by namespace and id in `tasks`; what they were made of is in `created`."""

    def __init__(self) -> None:
        self.tasks: dict[tuple[str, str], FakeTask] = {}
        self.created: list[CreateOptions] = []
        self._pid = 1000

    async def create(self, namespace: str, id: str, options: CreateOptions) -> Task:
        identifiers.validate(namespace, "namespace")
        identifiers.validate(id, "task id")
        if not options.runtime.name.startswith(("io.containerd.", "/")):
            raise InvalidArgument(f"runtime {options.runtime.name!r}: not a runtime name")
        if (namespace, id) in self.tasks:
            raise AlreadyExists(f"task {id!r}: already exists")
        self.created.append(options)
        task = self.tasks[(namespace, id)] = FakeTask(self, namespace, id, options)
        return task

    async def get(self, namespace: str, id: str) -> Task:
        if (namespace, id) not in self.tasks:
            raise NotFound(f"task {id!r}: does not exist")
        return self.tasks[(namespace, id)]

    async def list(self, namespace: str) -> Sequence[Task]:
        return [task for key, task in sorted(self.tasks.items()) if key[0] == namespace]

    async def prepare(self, runtime: str) -> None:
        """Nothing takes long here."""

    async def plugin_info(self, runtime_path: str, options: AnyValue | None) -> AnyValue:
        return AnyValue("containerd.types.RuntimeInfo", b"")

    def next_pid(self) -> int:
        """Pids that no process has."""
        self._pid += 1
        return self._pid
