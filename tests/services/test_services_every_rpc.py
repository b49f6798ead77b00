"""Every RPC is left by its client at every step: what it did is whole or undone, and nothing stays locked or open."""

import asyncio
from collections.abc import Iterable, Mapping
from typing import Any

import pytest
from corten.api.services.containers.v1 import containers_pb2 as containers
from corten.api.services.content.v1 import content_pb2 as content
from corten.api.services.diff.v1 import diff_pb2 as diff
from corten.api.services.events.v1 import events_pb2 as events
from corten.api.services.images.v1 import images_pb2 as images
from corten.api.services.introspection.v1 import introspection_pb2 as introspection
from corten.api.services.leases.v1 import leases_pb2 as leases
from corten.api.services.namespaces.v1 import namespace_pb2 as namespaces
from corten.api.services.sandbox.v1 import sandbox_pb2 as sandboxes
from corten.api.services.snapshots.v1 import snapshots_pb2 as snapshots
from corten.api.services.tasks.v1 import tasks_pb2 as tasks
from corten.api.types import descriptor_pb2, event_pb2, sandbox_pb2
from corten.digests import of
from corten.testing.calls import Attempt, Outcome, abandon, abandon_at_every_step
from corten.wire.methods import methods_of
from counts import count
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.empty_pb2 import Empty
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from services.world import ALL, BLOB, MakeWorld, World

Request = Message | Iterable[Message]
ANY = AnyMessage(type_url="a", value=b"{}")
TARGET = descriptor_pb2.Descriptor(media_type="manifest", digest=of(BLOB), size=len(BLOB))
ENVELOPE = event_pb2.Envelope(timestamp=Timestamp(seconds=1), namespace="n", topic="/a", event=ANY)
LATER = leases.Resource(id=of(b"later"), type="content")

REQUESTS: Mapping[str, Mapping[str, Request]] = {
    "version": {"Version": Empty()},
    "introspection": {
        "Plugins": introspection.PluginsRequest(),
        "Server": Empty(),
        "PluginInfo": introspection.PluginInfoRequest(type="io.containerd.content.v1", id="some"),
    },
    "namespaces": {
        "Get": namespaces.GetNamespaceRequest(name="blue"),
        "List": namespaces.ListNamespacesRequest(),
        "Create": namespaces.CreateNamespaceRequest(namespace=namespaces.Namespace(name="red")),
        "Update": namespaces.UpdateNamespaceRequest(namespace=namespaces.Namespace(name="blue", labels={"a": "2"})),
        "Delete": namespaces.DeleteNamespaceRequest(name="blue"),
    },
    "containers": {
        "Get": containers.GetContainerRequest(id="c"),
        "List": containers.ListContainersRequest(),
        "ListStream": containers.ListContainersRequest(),
        "Create": containers.CreateContainerRequest(container={"id": "new", "runtime": {"name": "r"}, "spec": ANY}),
        "Update": containers.UpdateContainerRequest(
            container={"id": "c", "labels": {"a": "2"}},
            update_mask={"paths": ["labels"]},
        ),
        "Delete": containers.DeleteContainerRequest(id="d"),
    },
    "images": {
        "Get": images.GetImageRequest(name="i"),
        "List": images.ListImagesRequest(),
        "Create": images.CreateImageRequest(image=images.Image(name="new", target=TARGET)),
        "Update": images.UpdateImageRequest(image=images.Image(name="i", target=TARGET, labels={"a": "2"})),
        "Delete": images.DeleteImageRequest(name="i", sync=True),
    },
    "leases": {
        "Create": leases.CreateRequest(id="new"),
        "Delete": leases.DeleteRequest(id="l"),
        "List": leases.ListRequest(),
        "AddResource": leases.AddResourceRequest(id="l", resource=leases.Resource(id=of(b"x"), type="content")),
        "DeleteResource": leases.DeleteResourceRequest(id="l", resource=LATER),
        "ListResources": leases.ListResourcesRequest(id="l"),
    },
    "sandboxes": {
        "Create": sandboxes.StoreCreateRequest(sandbox=sandbox_pb2.Sandbox(sandbox_id="new")),
        "Update": sandboxes.StoreUpdateRequest(
            sandbox=sandbox_pb2.Sandbox(sandbox_id="pod", labels={"a": "2"}), fields=["labels"]
        ),
        "Delete": sandboxes.StoreDeleteRequest(sandbox_id="pod"),
        "List": sandboxes.StoreListRequest(),
        "Get": sandboxes.StoreGetRequest(sandbox_id="pod"),
    },
    "snapshots": {
        "Prepare": snapshots.PrepareSnapshotRequest(snapshotter="native", key="new", parent="done"),
        "View": snapshots.ViewSnapshotRequest(snapshotter="native", key="new", parent="done"),
        "Mounts": snapshots.MountsRequest(snapshotter="native", key="k"),
        "Commit": snapshots.CommitSnapshotRequest(snapshotter="native", key="k", name="new"),
        "Remove": snapshots.RemoveSnapshotRequest(snapshotter="native", key="k"),
        "Stat": snapshots.StatSnapshotRequest(snapshotter="native", key="k"),
        "Update": snapshots.UpdateSnapshotRequest(
            snapshotter="native", info=snapshots.Info(name="k", labels={"a": "2"})
        ),
        "List": snapshots.ListSnapshotsRequest(snapshotter="native"),
        "Usage": snapshots.UsageRequest(snapshotter="native", key="k"),
        "Cleanup": snapshots.CleanupRequest(snapshotter="native"),
    },
    "content": {
        "Info": content.InfoRequest(digest=of(BLOB)),
        "Update": content.UpdateRequest(info=content.Info(digest=of(BLOB), labels={"a": "2"})),
        "List": content.ListContentRequest(),
        "Delete": content.DeleteContentRequest(digest=of(BLOB)),
        "Read": content.ReadContentRequest(digest=of(BLOB)),
        "Status": content.StatusRequest(ref="half"),
        "ListStatuses": content.ListStatusesRequest(),
        "Write": [
            content.WriteContentRequest(action=content.STAT, ref="half"),
            content.WriteContentRequest(action=content.WRITE, offset=2, data=b"lf"),
            content.WriteContentRequest(action=content.COMMIT, offset=4, labels={"a": "1"}),
        ],
        "Abort": content.AbortRequest(ref="half"),
    },
    "diff": {"Apply": diff.ApplyRequest(diff=TARGET), "Diff": diff.DiffRequest()},
    "tasks": {
        "Create": tasks.CreateTaskRequest(container_id="d"),
        "Start": tasks.StartRequest(container_id="c"),
        "Delete": tasks.DeleteTaskRequest(container_id="c"),
        "DeleteProcess": tasks.DeleteProcessRequest(container_id="c", exec_id="e"),
        "Get": tasks.GetRequest(container_id="c"),
        "List": tasks.ListTasksRequest(),
        "Kill": tasks.KillRequest(container_id="c", signal=9),
        "Exec": tasks.ExecProcessRequest(container_id="c", exec_id="new", spec=ANY),
        "ResizePty": tasks.ResizePtyRequest(container_id="c", width=1, height=2),
        "CloseIO": tasks.CloseIORequest(container_id="c", stdin=True),
        "Pause": tasks.PauseTaskRequest(container_id="c"),
        "Resume": tasks.ResumeTaskRequest(container_id="c"),
        "ListPids": tasks.ListPidsRequest(container_id="c"),
        "Checkpoint": tasks.CheckpointTaskRequest(container_id="c"),
        "Update": tasks.UpdateTaskRequest(container_id="c", resources=ANY),
        "Metrics": tasks.MetricsRequest(),
        "Wait": tasks.WaitRequest(container_id="c"),
    },
    "events": {
        "Publish": events.PublishRequest(topic="/a", event=ANY),
        "Forward": events.ForwardRequest(envelope=ENVELOPE),
        "Subscribe": events.SubscribeRequest(),
    },
}
ROWS = [(id, method) for id, methods in REQUESTS.items() for method in methods]
ENDLESS = {("tasks", "Wait"): 3, ("events", "Subscribe"): 1}
"""They end only when something happens; here nothing does: the steps that they take until they wait."""


async def test_the_table_has_every_rpc(make_world: MakeWorld) -> None:
    world = make_world()
    served = {(id, path.rpartition("/")[2]) for id in ALL for path in methods_of(world.service(id))}
    described = {(id, rpc.name) for id in ALL for rpc in world.service(id).descriptor.methods}
    assert set(ROWS) == served == described


@pytest.mark.parametrize(("id", "method"), ROWS, ids=[f"{id}-{method}" for id, method in ROWS])
async def test_a_client_that_leaves_at_any_step(make_world: MakeWorld, id: str, method: str) -> None:
    whole = None if (id, method) in ENDLESS else await _state_after(make_world, id, method, step=10_000)
    nothing = await _state_after(make_world, "version", "Version", step=10_000)

    async def fresh() -> Attempt:
        return await _attempt(make_world, id, method)

    async def check(attempt: Attempt, outcome: Outcome) -> None:
        after = await _settled(attempt.state)
        await _can_still_write(attempt.state)
        assert after in (whole, nothing) or (method == "Write" and after["ingests"] == [("half", 4)])
        if not outcome.left or (outcome.error is None and method != "Write"):
            assert after == (whole or nothing)
        if (id, method) in ENDLESS and True:
            raise _EnoughError

    try:
        for _ in range(count("cancel steps")):
            await abandon_at_every_step(fresh, check)
    except _EnoughError:
        pass


async def _attempt(make_world: MakeWorld, id: str, method: str) -> Attempt:
    world = make_world()
    await world.fill()
    return Attempt(world.service(id), method, REQUESTS[id][method], state=world)


async def _state_after(make_world: MakeWorld, id: str, method: str, step: int) -> Mapping[str, Any]:
    attempt = await _attempt(make_world, id, method)
    outcome = await abandon(attempt, step)
    assert outcome.error is None
    return await _settled(attempt.state)


async def _settled(world: World) -> Mapping[str, Any]:
    """What there is once threads that no one waits for have ended."""
    before, now = None, world.look()
    while before != now:
        await asyncio.sleep(0.005)
        before, now = now, world.look()
    return now


async def _can_still_write(world: World) -> None:
    """No ref, record or snapshot is locked."""
    caller = world.caller(ids=("content", "leases", "snapshots"))
    reopened = [content.WriteContentRequest(action=content.STAT, ref="half")]
    await asyncio.wait_for(caller.replies("Write", reopened), 10)
    made = leases.CreateRequest(id="afterwards")
    await asyncio.wait_for(caller.unary("containerd.services.leases.v1.Leases/Create", made), 10)
    request = snapshots.PrepareSnapshotRequest(snapshotter="native", key="afterwards")
    await asyncio.wait_for(caller.unary("Prepare", request), 10)


class _EnoughError(Exception):
    pass
