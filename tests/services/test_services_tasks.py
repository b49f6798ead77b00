"""The tasks service over a runtime in memory."""

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from corten.api.services.tasks.v1 import tasks_pb2 as pb
from corten.api.types.descriptor_pb2 import Descriptor as DescriptorMessage
from corten.api.types.mount_pb2 import Mount as MountMessage
from corten.api.types.runc.options.oci_pb2 import CheckpointOptions, Options
from corten.api.types.task import task_pb2
from corten.contracts.descriptor import Descriptor
from corten.contracts.mounts import Mount
from corten.contracts.objects import AnyValue, Container, RuntimeInfo
from corten.contracts.scope import Scope
from corten.errors import (
    AlreadyExists,
    DeadlineExceeded,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    Unimplemented,
)
from corten.plugin.hooks import HookRelay, hookimpl
from corten.plugin.types import METADATA, RUNTIME, SERVICE
from corten.pools import Pools
from corten.testing.calls import Attempt, Caller, Outcome, abandon_at_every_step
from google.protobuf.any_pb2 import Any as AnyMessage
from services.doubles import MakeContext, MemoryRuntime, MemoryTask, Records, service

SPEC = b'{"ociVersion":"1.1.0","process":{"args":["true"]}}'
RUNC = "io.containerd.runc.v2"


def container(id: str = "c", **fields: Any) -> Container:
    made: dict[str, Any] = {"spec": AnyValue("spec", SPEC), "runtime": RuntimeInfo(RUNC, AnyValue("o", b"1")), **fields}
    return Container(id=id, **made)


@pytest.fixture
def runtime() -> MemoryRuntime:
    return MemoryRuntime()


@pytest.fixture
def records() -> Records:
    made = Records()
    made.records["default", "c"] = container()
    return made


Instances = Mapping[Any, Any]


@pytest.fixture
def instances(runtime: MemoryRuntime, records: Records) -> Instances:
    return {(METADATA, "lmdb"): records, (RUNTIME, "task"): runtime}


@pytest.fixture
def caller(make_context: MakeContext, instances: Instances) -> Caller:
    return Caller(service("tasks", make_context(instances=instances)))


def task_of(runtime: MemoryRuntime, id: str = "c") -> MemoryTask:
    return runtime.tasks["default", id]


async def created(caller: Caller, **fields: Any) -> Any:
    return await caller.unary("Create", pb.CreateTaskRequest(container_id="c", **fields))


async def test_a_life_cycle(caller: Caller, runtime: MemoryRuntime) -> None:
    answer = await created(caller, stdin="/i", stdout="/o", stderr="/e", terminal=True)
    assert (answer.container_id, answer.pid) == ("c", 100)
    process = (await caller.unary("Get", pb.GetRequest(container_id="c"))).process
    assert (process.id, process.container_id, process.status) == ("c", "c", task_pb2.CREATED)
    assert (process.stdin, process.stdout, process.stderr, process.terminal) == ("/i", "/o", "/e", True)
    assert (await caller.unary("Start", pb.StartRequest(container_id="c"))).pid == 100
    with pytest.raises(FailedPrecondition):
        await caller.unary("Start", pb.StartRequest(container_id="c"))
    waiting = asyncio.ensure_future(caller.unary("Wait", pb.WaitRequest(container_id="c")))
    with pytest.raises(FailedPrecondition, match="running"):
        await caller.unary("Delete", pb.DeleteTaskRequest(container_id="c"))
    await caller.unary("Kill", pb.KillRequest(container_id="c", signal=9))
    ended = await waiting
    assert (ended.exit_status, ended.exited_at.seconds, ended.exited_at.nanos) == (137, 1, 2)
    deleted = await caller.unary("Delete", pb.DeleteTaskRequest(container_id="c"))
    assert (deleted.id, deleted.pid, deleted.exit_status, deleted.exited_at.nanos) == ("", 100, 137, 2)
    assert not runtime.tasks


async def test_what_a_task_is_made_of(caller: Caller, runtime: MemoryRuntime, records: Records) -> None:
    records.records["default", "c"] = container(sandbox="pod", snapshotter="overlayfs", snapshot_key="k")
    mounts = [MountMessage(type="bind", source="/s", options=["ro"])]
    await created(caller, rootfs=mounts, runtime_path="/bin/shim", options=AnyMessage(type_url="t", value=b"2"))
    options = task_of(runtime).options
    assert options.spec == SPEC
    assert options.rootfs == [Mount("bind", "/s", options=("ro",))]
    assert options.runtime == RuntimeInfo(RUNC, AnyValue("t", b"2"))
    assert (options.runtime_path, options.sandbox_id, options.checkpoint) == ("/bin/shim", "pod", "")


async def test_without_a_rootfs_the_snapshot_of_the_container_is_taken(
    caller: Caller, runtime: MemoryRuntime, records: Records
) -> None:
    records.records["default", "c"] = container(snapshotter="overlayfs", snapshot_key="k")
    await created(caller)
    assert task_of(runtime).options.rootfs == records.snapshot_mounts
    assert task_of(runtime).options.runtime.options == AnyValue("o", b"1")


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"task_api_address": "ttrpc+unix:///a", "task_api_version": 3}, ("ttrpc+unix:///a", 3)),
        ({}, ("grpc+vsock://3:1", 2)),
        ({"task_api_address": "ttrpc+unix:///a"}, ("ttrpc+unix:///a", 2)),
    ],
)
async def test_where_the_task_api_is(
    caller: Caller, runtime: MemoryRuntime, fields: dict[str, Any], expected: tuple[str, int]
) -> None:
    """In the request since containerd 2.3, and before that in runc's options, field by field."""
    old = Options(task_api_address="grpc+vsock://3:1", task_api_version=2)
    packed = AnyMessage(type_url="containerd.runc.v1.Options", value=old.SerializeToString())
    await created(caller, options=packed, **fields)
    options = task_of(runtime).options
    assert (options.task_address, options.task_version) == expected


async def test_what_cannot_be_created(caller: Caller, runtime: MemoryRuntime, records: Records) -> None:
    with pytest.raises(InvalidArgument, match="container id"):
        await caller.unary("Create", pb.CreateTaskRequest())
    with pytest.raises(NotFound, match="nowhere"):
        await caller.unary("Create", pb.CreateTaskRequest(container_id="nowhere"))
    records.records["default", "c"] = container(spec=None)
    with pytest.raises(InvalidArgument, match="no OCI spec"):
        await created(caller)
    records.records["default", "c"] = container(snapshotter="floppy", snapshot_key="k")
    with pytest.raises(InvalidArgument, match="floppy"):
        await created(caller)
    options = AnyMessage(type_url="containerd.runc.v1.Options", value=b"\xff\xff")
    with pytest.raises(InvalidArgument, match="options"):
        records.records["default", "c"] = container()
        await created(caller, options=options)
    assert not runtime.tasks
    await created(caller)
    with pytest.raises(AlreadyExists):
        await created(caller)


class Proxy:
    """Edits a spec, or refuses."""

    refuses = False

    @hookimpl
    def oci_spec(self, namespace: str, container: Container, spec: dict[str, Any]) -> None:
        if self.refuses:
            raise PermissionDenied(f"{container.id} must not run in {namespace}")
        spec["process"]["env"] = ["PROXY=1"]


async def test_hooks_edit_the_spec_and_fail_closed(
    make_context: MakeContext, instances: Instances, runtime: MemoryRuntime, records: Records
) -> None:
    proxy, pools = Proxy(), Pools()
    hooks = HookRelay(pools)
    hooks.register("io.corten.hooks.v1.proxy", proxy)
    caller = Caller(service("tasks", make_context(instances=instances, hooks=hooks, pools=pools)))
    await created(caller)
    assert json.loads(task_of(runtime).options.spec)["process"] == {"args": ["true"], "env": ["PROXY=1"]}
    for bad in (b"{", b"[]", b"\xff"):
        records.records["default", "c"] = container(spec=AnyValue("spec", bad))
        with pytest.raises(InvalidArgument, match="OCI spec is not"):
            await created(caller)
    proxy.refuses = True
    records.records["default", "d"] = container("d")
    with pytest.raises(PermissionDenied, match="must not run in default"):
        await caller.unary("Create", pb.CreateTaskRequest(container_id="d"))
    assert ("default", "d") not in runtime.tasks


async def test_execs(caller: Caller, runtime: MemoryRuntime) -> None:
    await created(caller)
    request = pb.ExecProcessRequest(container_id="c", exec_id="e", stdout="/o", spec=AnyMessage(type_url="p"))
    await caller.unary("Exec", request)
    with pytest.raises(AlreadyExists):
        await caller.unary("Exec", request)
    assert (await caller.unary("Start", pb.StartRequest(container_id="c", exec_id="e"))).pid == 101
    process = (await caller.unary("Get", pb.GetRequest(container_id="c", exec_id="e"))).process
    assert (process.id, process.container_id, process.stdout) == ("e", "c", "/o")
    await caller.unary("Kill", pb.KillRequest(container_id="c", exec_id="e", signal=15))
    ended = await caller.unary("Wait", pb.WaitRequest(container_id="c", exec_id="e"))
    assert ended.exit_status == 143
    deleted = await caller.unary("DeleteProcess", pb.DeleteProcessRequest(container_id="c", exec_id="e"))
    assert (deleted.id, deleted.exit_status) == ("e", 143)
    with pytest.raises(NotFound):
        await caller.unary("Get", pb.GetRequest(container_id="c", exec_id="e"))


@pytest.mark.parametrize(
    ("method", "request_", "words"),
    [
        ("Exec", pb.ExecProcessRequest(container_id="c", spec=AnyMessage()), "exec id"),
        ("Exec", pb.ExecProcessRequest(container_id="c", exec_id="../up", spec=AnyMessage()), "exec id"),
        ("Exec", pb.ExecProcessRequest(container_id="c", exec_id="e"), "no spec"),
        ("DeleteProcess", pb.DeleteProcessRequest(container_id="c"), "exec id"),
        ("Update", pb.UpdateTaskRequest(container_id="c"), "no resources"),
        ("Checkpoint", pb.CheckpointTaskRequest(container_id="c", options=AnyMessage(type_url="x")), "'x'"),
        ("Metrics", pb.MetricsRequest(filters=["id=="]), "filter"),
        ("Start", pb.StartRequest(), "container id"),
    ],
)
async def test_bad_requests_are_refused(caller: Caller, method: str, request_: Any, words: str) -> None:
    await created(caller)
    with pytest.raises(InvalidArgument, match=words):
        await caller.unary(method, request_)


async def test_a_task_that_is_not_there_is_what_an_update_hears_of_first(caller: Caller) -> None:
    with pytest.raises(NotFound):
        await caller.unary("Update", pb.UpdateTaskRequest(container_id="c"))


async def test_the_smaller_calls_reach_the_task(caller: Caller, runtime: MemoryRuntime) -> None:
    await created(caller)
    await caller.unary("Start", pb.StartRequest(container_id="c"))
    await caller.unary("ResizePty", pb.ResizePtyRequest(container_id="c", width=80, height=24))
    await caller.unary("CloseIO", pb.CloseIORequest(container_id="c", stdin=True))
    await caller.unary("CloseIO", pb.CloseIORequest(container_id="c"))
    with pytest.raises(NotFound):
        await caller.unary("CloseIO", pb.CloseIORequest(container_id="c", exec_id="none"))
    update = pb.UpdateTaskRequest(container_id="c", resources=AnyMessage(type_url="r"), annotations={"a": "b"})
    await caller.unary("Update", update)
    assert task_of(runtime).calls == [
        ("resize", 80, 24, ""),
        ("close_stdin", ""),
        ("update", AnyValue("r"), {"a": "b"}),
    ]
    await caller.unary("Pause", pb.PauseTaskRequest(container_id="c"))
    assert (await caller.unary("Get", pb.GetRequest(container_id="c"))).process.status == task_pb2.PAUSED
    await caller.unary("Resume", pb.ResumeTaskRequest(container_id="c"))
    assert (await caller.unary("Get", pb.GetRequest(container_id="c"))).process.status == task_pb2.RUNNING
    pids = (await caller.unary("ListPids", pb.ListPidsRequest(container_id="c"))).processes
    assert [(each.pid, each.HasField("info")) for each in pids] == [(100, False)]


async def test_lists_survive_shims_that_do_not_answer(
    make_context: MakeContext, instances: Instances, runtime: MemoryRuntime, records: Records
) -> None:
    tasks = service("tasks", make_context(instances=instances))
    caller, elsewhere = Caller(tasks), Caller(tasks, namespace="other")
    records.records["default", "d"] = container("d")
    await created(caller)
    await caller.unary("Create", pb.CreateTaskRequest(container_id="d"))
    task_of(runtime, "d").processes[""].hangs = True
    listed = (await caller.unary("List", pb.ListTasksRequest())).tasks
    assert {each.id: each.status for each in listed} == {"c": task_pb2.CREATED, "d": task_pb2.UNKNOWN}
    metrics = (await caller.unary("Metrics", pb.MetricsRequest(filters=["id==d"]))).metrics
    assert [(each.id, each.data.value) for each in metrics] == [("d", b"m")]
    assert not (await elsewhere.unary("List", pb.ListTasksRequest())).tasks


class FolderDiffer:
    """Turns a folder into a blob and back by listing its files; knows plain tars only."""

    def apply(self, layer: Descriptor, mounts: Any, content: Any, **_: Any) -> Descriptor:
        if layer.media_type != "application/vnd.oci.image.layer.v1.tar":
            raise Unimplemented(layer.media_type)
        for line in content.data(layer.digest).decode().splitlines():
            (Path(mounts[0].source) / line).touch()
        return layer

    def compare(self, lower: Any, upper: Any, content: Any, *, media_type: str, **_: Any) -> Descriptor:
        assert not list(Path(lower[0].source).iterdir())
        names = "\n".join(sorted(each.name for each in Path(upper[0].source).iterdir()))
        digest = content.add(names.encode())
        return Descriptor(media_type, digest, len(names))


@pytest.fixture
def saver(make_context: MakeContext, instances: Instances) -> Caller:
    with_differ = {**instances, (SERVICE, "diff-service"): FolderDiffer()}
    return Caller(service("tasks", make_context(instances=with_differ)))


async def test_a_checkpoint_goes_to_content_and_comes_back(
    saver: Caller, runtime: MemoryRuntime, records: Records, tmp_path: Path
) -> None:
    await created(saver)
    image, config = (await saver.unary("Checkpoint", pb.CheckpointTaskRequest(container_id="c"))).descriptors
    assert image.media_type == "application/vnd.containerd.container.criu.checkpoint.criu.tar"
    assert config.media_type == "application/vnd.containerd.container.checkpoint.config.v1+proto"
    stored = records.content(Scope("default"))
    assert AnyMessage.FromString(stored.data(config.digest)).value == SPEC
    assert list((tmp_path / "state").iterdir()) == []
    await saver.unary("Delete", pb.DeleteTaskRequest(container_id="c"))
    written = stored.add(b"pages-1.img")
    again = DescriptorMessage(media_type=image.media_type, digest=written, size=11)
    await created(saver, checkpoint=again)
    folder = Path(task_of(runtime).options.checkpoint)
    with pytest.raises(AlreadyExists):
        await created(saver, checkpoint=again)
    assert [each.name for each in folder.iterdir()] == ["pages-1.img"]
    await saver.unary("Delete", pb.DeleteTaskRequest(container_id="c"))
    assert not folder.exists()


async def test_checkpoints_by_path(saver: Caller, runtime: MemoryRuntime) -> None:
    options = AnyMessage(
        type_url="containerd.runc.v1.Options", value=Options(criu_image_path="/cp").SerializeToString()
    )
    await created(saver, options=options)
    assert task_of(runtime).options.checkpoint == "/cp"
    wanted = CheckpointOptions(image_path="/to").SerializeToString()
    target = AnyMessage(type_url="containerd.runc.v1.CheckpointOptions", value=wanted)
    answer = await saver.unary("Checkpoint", pb.CheckpointTaskRequest(container_id="c", options=target))
    assert not answer.descriptors
    assert task_of(runtime).calls == [("checkpoint", "/to")]


async def test_a_failed_create_leaves_no_checkpoint(
    saver: Caller, runtime: MemoryRuntime, records: Records, tmp_path: Path
) -> None:
    runtime.fails = DeadlineExceeded("the shim did not answer")
    digest = records.content(Scope("default")).add(b"a")
    image = DescriptorMessage(media_type="application/vnd.containerd.container.criu.checkpoint.criu.tar", digest=digest)
    with pytest.raises(DeadlineExceeded):
        await created(saver, checkpoint=image)
    assert not [each for each in (tmp_path / "state").rglob("*") if each.name == "a"]
    image.media_type = "text/plain"
    with pytest.raises(InvalidArgument, match="text/plain"):
        await created(saver, checkpoint=image)


async def test_a_wait_left_at_any_step_waits_no_longer(make_context: MakeContext, instances: Instances) -> None:
    tasks = service("tasks", make_context(instances=instances))
    await created(Caller(tasks))
    task = instances[RUNTIME, "task"].tasks["default", "c"]

    async def fresh() -> Attempt:
        return Attempt(tasks, "Wait", pb.WaitRequest(container_id="c"))

    async def check(attempt: Attempt, outcome: Outcome) -> None:
        assert task.waiters == 0
        assert outcome.left == isinstance(outcome.error, asyncio.CancelledError)
        if outcome.step == 3:
            await task.kill(9)

    assert await abandon_at_every_step(fresh, check) >= 2


async def test_a_create_left_at_any_step_is_whole_or_not_there(make_context: MakeContext, records: Records) -> None:
    async def fresh() -> Attempt:
        runtime = MemoryRuntime()
        context = make_context(instances={(METADATA, "lmdb"): records, (RUNTIME, "task"): runtime})
        return Attempt(service("tasks", context), "Create", pb.CreateTaskRequest(container_id="c"), state=runtime)

    async def check(attempt: Attempt, outcome: Outcome) -> None:
        made = ("default", "c") in attempt.state.tasks
        assert made == (outcome.error is None)

    assert await abandon_at_every_step(fresh, check) >= 1
