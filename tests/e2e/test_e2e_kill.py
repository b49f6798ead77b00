"""SIGKILL of cortend loses nothing: pulls resume, running containers are known again with output and exit code."""

import asyncio
import hashlib
import os
import random
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path

import pytest
from corten.api.services.content.v1 import content_pb2
from corten.api.services.snapshots.v1 import snapshots_pb2
from corten.api.services.tasks.v1 import tasks_pb2
from corten.api.types.mount_pb2 import Mount
from corten.wire.channel import Channel
from counts import count
from daemon import Daemon, running_daemon
from peers import Ctr, wait_until

pytestmark = pytest.mark.integration

CONTENT = content_pb2.DESCRIPTOR.services_by_name["Content"].methods_by_name
TASKS = tasks_pb2.DESCRIPTOR.services_by_name["Tasks"].methods_by_name
SNAPSHOTS = snapshots_pb2.DESCRIPTOR.services_by_name["Snapshots"].methods_by_name


@pytest.fixture
def daemon() -> Iterator[Daemon]:
    with running_daemon() as daemon:
        yield daemon


def restarted(daemon: Daemon) -> None:
    daemon.kill()
    daemon.start()


def test_killed_during_pull(daemon: Daemon, reference: str) -> None:
    """At a random moment of a pull; afterwards the same pull ends well and the image runs."""
    for _ in range(count("kill during pull")):
        ctr = Ctr(daemon.address, "pull")
        pull = ctr.start("images", "pull", "--plain-http", reference)
        time.sleep(random.uniform(0.02, 0.4))
        restarted(daemon)
        pull.kill()
        pull.communicate()
        ctr("images", "pull", "--plain-http", reference)
        assert ctr("run", "--rm", reference, "ok", "cat", "/data/changed") == "second"
        ctr("images", "rm", "--sync", reference)


def test_killed_during_run(daemon: Daemon, reference: str) -> None:
    """At a random moment of a run; afterwards the store works, and the name can be used again."""
    ctr = Ctr(daemon.address, "run")
    ctr("images", "pull", "--plain-http", reference)
    for n in range(count("kill during run")):
        run = ctr.start("run", "-d", reference, "c", "sleep", "1000")
        time.sleep(random.uniform(0.01, 0.3))
        restarted(daemon)
        run.kill()
        run.communicate()
        ctr.try_("tasks", "rm", "-f", "c")
        ctr.try_("containers", "rm", "c")
        assert ctr("tasks", "ls", "-q").split() == [], n
        ctr.try_("snapshots", "rm", "c")
        assert ctr("run", "--rm", reference, "c", "cat", "/data/kept") == "kept"


def test_running_container_is_known_again(daemon: Daemon, reference: str, tmp_path: Path) -> None:
    """Its pid, its output while the daemon was away, exec, and its exit code."""
    ctr = Ctr(daemon.address)
    ctr("images", "pull", "--plain-http", reference)
    script = "for i in $(seq 1 60); do echo line $i; sleep 0.1; done; exit 23"
    run = ctr.start("run", reference, "steady", "sh", "-c", script)
    wait_until(lambda: "RUNNING" in ctr.try_("tasks", "ls").stdout, "the task runs")
    before = ctr("tasks", "ls")
    daemon.kill()
    time.sleep(1)
    daemon.start()
    assert ctr("tasks", "ls") == before
    assert ctr("tasks", "exec", "--exec-id", "x", "steady", "echo", "here") == "here\n"
    wait_until(lambda: "STOPPED" in ctr("tasks", "ls"), "the task ended")
    run.kill()
    run.communicate()
    assert "exit code 23" in ctr.try_("tasks", "rm", "steady").stderr


def test_exit_while_the_daemon_is_away(daemon: Daemon, reference: str) -> None:
    ctr = Ctr(daemon.address)
    ctr("images", "pull", "--plain-http", reference)
    ctr("run", "-d", reference, "brief", "sh", "-c", "sleep 1; exit 31")
    daemon.kill()
    time.sleep(2)
    daemon.start()
    wait_until(lambda: "STOPPED" in ctr("tasks", "ls"), "the task is shown as stopped")
    assert "exit code 31" in ctr.try_("tasks", "rm", "brief").stderr


async def test_an_ingest_is_resumed_where_it_was(daemon: Daemon) -> None:
    """What was written before SIGKILL is not sent again."""
    data = random.randbytes(3 << 20)
    digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
    headers = {"containerd-namespace": "default"}
    async with Channel(daemon.address) as channel:
        stream = channel.bidi(CONTENT["Write"], half_written(data, digest), metadata=headers)
        while (await anext(stream)).offset < 2 << 20:
            pass
        daemon.kill()
    daemon.start()
    async with Channel(daemon.address) as channel:
        request = content_pb2.StatusRequest(ref="half")
        status = (await channel.unary(CONTENT["Status"], request, metadata=headers)).status
        assert (status.offset, status.total, status.expected) == (2 << 20, 3 << 20, digest)
        rest = finished(data, status.offset, digest)
        replies = [reply async for reply in channel.bidi(CONTENT["Write"], rest, metadata=headers)]
    assert replies[-1].digest == digest
    assert daemon.ctr("content", "ls", "-q").split() == [digest]


async def half_written(data: bytes, digest: str) -> AsyncIterator[content_pb2.WriteContentRequest]:
    """Two of three pieces, then nothing."""
    for offset in (0, 1 << 20):
        yield content_pb2.WriteContentRequest(
            action=content_pb2.WriteAction.WRITE,
            ref="half",
            total=len(data),
            expected=digest,
            offset=offset,
            data=data[offset : offset + (1 << 20)],
        )
    await asyncio.sleep(60)


async def finished(data: bytes, offset: int, digest: str) -> AsyncIterator[content_pb2.WriteContentRequest]:
    """The rest, committed as something that no collection takes."""
    yield content_pb2.WriteContentRequest(
        action=content_pb2.WriteAction.COMMIT,
        ref="half",
        total=len(data),
        expected=digest,
        offset=offset,
        data=data[offset:],
        labels={"containerd.io/gc.root": "1"},
    )


async def test_output_written_while_the_daemon_is_away_reaches_the_reader(
    daemon: Daemon, reference: str, tmp_path: Path
) -> None:
    """The client holds the FIFO: nothing that goes through it needs the daemon. (ctr ends with its connection.)"""
    ctr = Ctr(daemon.address)
    ctr("images", "pull", "--plain-http", reference)
    ctr("containers", "create", reference, "voice", "/bin/talk")
    fifo = tmp_path / "out"
    os.mkfifo(fifo)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    async with Channel(daemon.address) as channel:
        headers = {"containerd-namespace": "default"}
        create = tasks_pb2.CreateTaskRequest(container_id="voice", stdout=str(fifo))
        create.rootfs.extend(await mounts_of(channel, "voice", headers))
        await channel.unary(TASKS["Create"], create, metadata=headers)
        await channel.unary(TASKS["Start"], tasks_pb2.StartRequest(container_id="voice"), metadata=headers)
    daemon.kill()
    await asyncio.sleep(3)
    daemon.start()
    wait_until(lambda: "STOPPED" in ctr("tasks", "ls"), "the task ended")
    assert os.read(reader, 1000) == b"before\nafter\n"
    os.close(reader)


async def test_a_slow_reader_of_a_fifo_loses_nothing_over_kills(daemon: Daemon, reference: str, tmp_path: Path) -> None:
    ctr = Ctr(daemon.address)
    ctr("images", "pull", "--plain-http", reference)
    ctr("containers", "create", reference, "much", "seq", "200000")
    fifo = tmp_path / "out"
    os.mkfifo(fifo)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    async with Channel(daemon.address) as channel:
        headers = {"containerd-namespace": "default"}
        create = tasks_pb2.CreateTaskRequest(container_id="much", stdout=str(fifo))
        create.rootfs.extend(await mounts_of(channel, "much", headers))
        await channel.unary(TASKS["Create"], create, metadata=headers)
        await channel.unary(TASKS["Start"], tasks_pb2.StartRequest(container_id="much"), metadata=headers)
    os.set_blocking(reader, True)  # its writer is there
    kills, data = 0, b""
    while piece := os.read(reader, 16384):
        data += piece
        if len(data) > (kills + 1) * 400_000 and kills < 2:
            kills += 1
            restarted(daemon)
            assert "RUNNING" in ctr("tasks", "ls")
            assert ctr("run", "--rm", reference, f"other{kills}", "echo", "on") == "on\n"
    assert kills == 2
    assert data == b"".join(b"%d\n" % number for number in range(1, 200001))
    os.close(reader)
    wait_until(lambda: "STOPPED" in ctr("tasks", "ls"), "the task ended")
    assert "exit code" not in ctr.try_("tasks", "rm", "much").stderr


async def mounts_of(channel: Channel, key: str, headers: dict[str, str]) -> Sequence[Mount]:
    """The root file system of a container, as ctr asks for it."""
    request = snapshots_pb2.MountsRequest(snapshotter="overlayfs", key=key)
    reply = await channel.unary(SNAPSHOTS["Mounts"], request, metadata=headers)
    return list(reply.mounts)
