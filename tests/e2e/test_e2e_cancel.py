"""Clients that go away in the middle of calls, over the wire and on real containers: nothing is left half done."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from corten.api.services.containers.v1 import containers_pb2
from corten.api.services.content.v1 import content_pb2
from corten.api.services.diff.v1 import diff_pb2
from corten.api.services.images.v1 import images_pb2
from corten.api.services.snapshots.v1 import snapshots_pb2
from corten.api.services.tasks.v1 import tasks_pb2
from corten.errors import CortenError
from corten.wire.channel import Channel
from counts import count
from daemon import Daemon, processes_on, running_daemon
from google.protobuf.any_pb2 import Any
from google.protobuf.message import Message
from peers import Ctr, mounts_below, wait_until

pytestmark = pytest.mark.integration

TASKS = tasks_pb2.DESCRIPTOR.services_by_name["Tasks"].methods_by_name
SNAPSHOTS = snapshots_pb2.DESCRIPTOR.services_by_name["Snapshots"].methods_by_name
CONTAINERS = containers_pb2.DESCRIPTOR.services_by_name["Containers"].methods_by_name
CONTENT = content_pb2.DESCRIPTOR.services_by_name["Content"].methods_by_name
DIFF = diff_pb2.DESCRIPTOR.services_by_name["Diff"].methods_by_name
IMAGES = images_pb2.DESCRIPTOR.services_by_name["Images"].methods_by_name
HEADERS = {"containerd-namespace": "default"}

Call = Callable[..., Awaitable[Message]]


@pytest.fixture
async def daemon(reference: str) -> AsyncIterator[Daemon]:
    """A daemon of this test's own with the image pulled and a container to copy."""
    with running_daemon() as daemon:
        daemon.ctr("images", "pull", "--plain-http", reference)
        daemon.ctr("containers", "create", reference, "model", "sleep", "1000")
        yield daemon


async def abandoned(channel: Channel, method: object, request: Message, delay: float) -> None:
    """Call, and go away after `delay` seconds if it has not been answered by then."""
    call = asyncio.ensure_future(channel.unary(method, request, metadata=HEADERS))  # type: ignore[arg-type]
    await asyncio.wait({call}, timeout=delay)
    call.cancel()
    await asyncio.gather(call, return_exceptions=True)


async def container_like_model(channel: Channel, name: str) -> list[object]:
    """A container with a snapshot of its own; the mounts."""
    model = (
        await channel.unary(CONTAINERS["Get"], containers_pb2.GetContainerRequest(id="model"), metadata=HEADERS)
    ).container
    parent = snapshots_pb2.StatSnapshotRequest(snapshotter="overlayfs", key="model")
    info = (await channel.unary(SNAPSHOTS["Stat"], parent, metadata=HEADERS)).info
    prepare = snapshots_pb2.PrepareSnapshotRequest(snapshotter="overlayfs", key=name, parent=info.parent)
    prepare.labels["containerd.io/gc.root"] = "1"
    mounts = (await channel.unary(SNAPSHOTS["Prepare"], prepare, metadata=HEADERS)).mounts
    model.id = model.snapshot_key = name
    create = containers_pb2.CreateContainerRequest(container=model)
    await channel.unary(CONTAINERS["Create"], create, metadata=HEADERS)
    return list(mounts)


async def settled(call: Call, *args: object, **more: object) -> bool:
    """Whether a call succeeds; an error of the vocabulary is an answer too."""
    try:
        await asyncio.wait_for(asyncio.ensure_future(call(*args, metadata=HEADERS, **more)), 20)
    except CortenError:
        return False
    return True


async def removed(channel: Channel, name: str) -> None:
    """Take away whatever there is of a container, as a client would that knows nothing."""
    await settled(channel.unary, TASKS["Kill"], tasks_pb2.KillRequest(container_id=name, signal=9, all=True))
    await settled(channel.unary, TASKS["Wait"], tasks_pb2.WaitRequest(container_id=name))
    await settled(channel.unary, TASKS["Delete"], tasks_pb2.DeleteTaskRequest(container_id=name))
    assert not await settled(channel.unary, TASKS["Get"], tasks_pb2.GetRequest(container_id=name))
    await settled(channel.unary, CONTAINERS["Delete"], containers_pb2.DeleteContainerRequest(id=name))
    remove = snapshots_pb2.RemoveSnapshotRequest(snapshotter="overlayfs", key=name)
    assert await settled(channel.unary, SNAPSHOTS["Remove"], remove)


async def test_life_of_a_task_abandoned_at_random(daemon: Daemon) -> None:
    """Create, Start, Exec, Start of the exec, Kill and Delete are each left at a random moment."""
    before = set(processes_on(daemon.folder))
    async with Channel(daemon.address) as channel:
        for n in range(count("abandoned lives")):
            name = f"left{n}"
            create = tasks_pb2.CreateTaskRequest(container_id=name)
            create.rootfs.extend(await container_like_model(channel, name))  # type: ignore[arg-type]
            await abandoned(channel, TASKS["Create"], create, random.uniform(0, 0.12))
            await abandoned(channel, TASKS["Start"], tasks_pb2.StartRequest(container_id=name), random.uniform(0, 0.05))
            spec = Any(type_url="types.containerd.io/opencontainers/runtime-spec/1/Process", value=PROCESS)
            added = tasks_pb2.ExecProcessRequest(container_id=name, exec_id="e", spec=spec)
            await abandoned(channel, TASKS["Exec"], added, random.uniform(0, 0.05))
            start = tasks_pb2.StartRequest(container_id=name, exec_id="e")
            await abandoned(channel, TASKS["Start"], start, random.uniform(0, 0.08))
            await abandoned(channel, TASKS["Delete"], tasks_pb2.DeleteTaskRequest(container_id=name), 0.01)
            await removed(channel, name)
    wait_until(lambda: set(processes_on(daemon.folder)) <= before, "no shim and no container is left")
    assert mounts_below(daemon.folder) == []
    bundles = daemon.state / "io.containerd.runtime.v2.task/default"
    assert not bundles.exists() or not list(bundles.iterdir()), [str(p) for p in bundles.rglob("*")]


async def test_unpacking_abandoned_at_random(daemon: Daemon, reference: str) -> None:
    """Apply is left in the middle; the key can be removed and the same pull ends well afterwards."""
    digests = daemon.ctr("content", "ls", "-q").split()
    async with Channel(daemon.address) as channel:
        for n in range(count("abandoned lives")):
            prepare = snapshots_pb2.PrepareSnapshotRequest(snapshotter="overlayfs", key=f"extract-{n}")
            prepare.labels["containerd.io/gc.root"] = "1"
            mounts = (await channel.unary(SNAPSHOTS["Prepare"], prepare, metadata=HEADERS)).mounts
            apply = diff_pb2.ApplyRequest(mounts=mounts)
            apply.diff.media_type = "application/vnd.oci.image.layer.v1.tar+gzip"
            apply.diff.digest = random.choice(digests)
            info = content_pb2.InfoRequest(digest=apply.diff.digest)
            apply.diff.size = (await channel.unary(CONTENT["Info"], info, metadata=HEADERS)).info.size
            await abandoned(channel, DIFF["Apply"], apply, random.uniform(0, 0.1))
            remove = snapshots_pb2.RemoveSnapshotRequest(snapshotter="overlayfs", key=f"extract-{n}")
            assert await settled(channel.unary, SNAPSHOTS["Remove"], remove)
    assert mounts_below(daemon.folder) == []
    ctr = Ctr(daemon.address, "again")
    ctr("images", "pull", "--plain-http", reference)
    assert ctr("run", "--rm", reference, "ok", "cat", "/data/changed") == "second"


async def test_removal_with_gc_abandoned(daemon: Daemon, reference: str) -> None:
    """A synchronous removal goes on to its end without its client."""
    async with Channel(daemon.address) as channel:
        await settled(channel.unary, CONTAINERS["Delete"], containers_pb2.DeleteContainerRequest(id="model"))
        delete = images_pb2.DeleteImageRequest(name=reference, sync=True)
        delay = 0.001
        while await settled(channel.unary, IMAGES["Get"], images_pb2.GetImageRequest(name=reference)):
            await abandoned(channel, IMAGES["Delete"], delete, delay)  # too soon, and it has not even been sent
            delay *= 2
    wait_until(lambda: daemon.ctr("content", "ls", "-q") == "", "the content is collected")
    wait_until(lambda: not daemon.ctr("snapshots", "ls").splitlines()[1:], "the snapshots are collected")


PROCESS = b'{"args": ["sleep", "1000"], "cwd": "/", "env": ["PATH=/bin"], "user": {"uid": 0, "gid": 0}}'
