"""The Python client against cortend and against Debian's containerd: the same calls, the same values."""

import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import images
import pytest
from corten.client import Client
from corten.client import sync as plain
from corten.client.attachment import Streams
from corten.client.execute import ExecOptions, exec_
from corten.client.image import resolve
from corten.client.pull import PullOptions, pull
from corten.client.run import RunOptions, create, remove, run, start, stop
from corten.client.unpack import is_unpacked
from corten.contracts.descriptor import Descriptor
from corten.contracts.objects import Resource
from corten.contracts.snapshots import Kind
from corten.digests import of
from corten.errors import AlreadyExists, FailedPrecondition, NotFound, Unavailable
from corten.oci.options import SpecOptions
from daemon import remove_cgroups, running_daemon
from peers import containerd, processes_with, registry

pytestmark = [pytest.mark.integration, pytest.mark.xdist_group("client")]

NAMESPACE = "client-tests"


@pytest.fixture(scope="module", params=["cortend", "containerd"])
def address(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A daemon with a busybox image in `NAMESPACE`."""
    folder = tmp_path_factory.mktemp("client")
    archive = folder / "busybox.tar"
    argv = [sys.executable, "-m", "corten.oci_image.busybox", "--output", str(archive)]
    subprocess.run(argv, check=True, capture_output=True)
    if request.param == "cortend":
        with running_daemon() as daemon:
            take_in(daemon.address, archive)
            yield daemon.address
    else:
        with containerd(folder / "c") as own:
            take_in(own, archive)
            yield own
            assert not processes_with(f"{own} -publish")
    remove_cgroups(NAMESPACE)


def take_in(address: str, archive: Path) -> None:
    with plain.Client(address, NAMESPACE) as client, archive.open("rb") as file:
        (image,) = client.import_archive(file)
        assert image.name == IMAGE


IMAGE = "corten.local/busybox:latest"


def options(id: str, *args: str) -> RunOptions:
    return RunOptions(IMAGE, id, SpecOptions(args=args))


async def test_run_to_the_end(address: str) -> None:
    out, err = bytearray(), bytearray()
    async with Client(address, NAMESPACE) as client:
        wanted = options("once", "sh", "-c", "echo out; echo err >&2; exit 5")
        ended = await run(client, wanted, Streams(stdout=out.extend, stderr=err.extend))
        assert (ended.status, bytes(out), bytes(err)) == (5, b"out\n", b"err\n")
        assert ended.exited_at > 0
        assert await client.containers.list() == []
        with pytest.raises(NotFound):
            await client.snapshots().stat("once")


async def test_layers_are_unpacked_while_others_are_fetched(address: str, tmp_path: Path) -> None:
    seen: list[tuple[str, bool]] = []

    def progress(item: str, done: int, total: int) -> None:
        seen.append((item.split()[0], done == total))

    with registry(tmp_path / "registry") as host:
        images.push(images.write_layout(tmp_path / "layout"), f"{host}/app:1")
        async with Client(address, NAMESPACE) as client:
            image = await pull(client, f"{host}/app:1", PullOptions(concurrency=1), progress)
            assert await is_unpacked(client, await resolve(client, image), "overlayfs")
            await client.images.delete(image.name, sync=True)
    assert seen.index(("unpack", False)) < len(seen) - 1 - seen[::-1].index(("layer", True))


async def test_life_of_a_container(address: str) -> None:
    async with Client(address, NAMESPACE) as client:
        container = await create(client, options("life", "sleep", "600"))
        try:
            with pytest.raises(AlreadyExists):
                await create(client, options("life", "true"))
            process = await start(client, container)
            state = await client.tasks.get("life")
            assert (state.pid, state.status) == (process.pid, "running")
            assert [pid for pid, _ in await client.tasks.pids("life")] == [process.pid]
            assert (await client.tasks.metrics(["id==life"]))[0].id == "life"
            out = bytearray()
            ended = await exec_(client, "life", ExecOptions(("sh", "-c", "id -u; exit 3"), user="nobody"),
                                Streams(stdout=out.extend))  # fmt: skip
            assert (ended.status, bytes(out)) == (3, b"65534\n")
            with pytest.raises(FailedPrecondition, match="running"):
                await remove(client, "life")
            await client.tasks.pause("life")
            assert (await client.tasks.get("life")).status == "paused"
            await client.tasks.resume("life")
            assert (await stop(client, "life", 9, 5)).status == 137
        finally:
            await remove(client, "life", force=True)
        assert await client.tasks.list() == []


async def test_a_start_that_fails_leaves_no_task(address: str) -> None:
    async with Client(address, NAMESPACE) as client:
        with pytest.raises(Exception, match="nosuch"):
            await run(client, options("fails", "nosuch"), Streams(stdout=None, stderr=None))
        assert await client.tasks.list() == [] and await client.containers.list() == []


async def test_content_is_written_resumed_and_read(address: str) -> None:
    data = bytes(range(256)) * 10_000
    target = Descriptor("application/octet-stream", of(data), len(data))
    async with Client(address, NAMESPACE) as client, client.leased() as leased:
        async with leased.content.writer("ref", total=len(data), expected=target.digest) as writer:
            await writer.write(data[:1_500_000])
            with pytest.raises(Unavailable):
                await leased.content.open_writer("ref")
        assert (await leased.content.status("ref")).offset == 1_500_000
        await leased.content.put("ref", data, target, {"a": "b"})
        assert (await leased.content.info(target.digest)).labels["a"] == "b"
        assert await leased.content.read_all(target.digest, len(data)) == data
        assert b"".join([part async for part in leased.content.read(target.digest, 5, 10)]) == data[5:15]
        await leased.content.put("ref", data, target, {"c": "d"})
        labels = (await leased.content.info(target.digest)).labels
        assert (labels["a"], labels["c"]) == ("b", "d")
        held = await client.leases.resources(leased.lease)
        assert Resource(target.digest, "content") in held
        await client.content.delete(target.digest)
        with pytest.raises(NotFound):
            await client.content.info(target.digest)


async def test_snapshots(address: str) -> None:
    async with Client(address, NAMESPACE) as client, client.leased() as leased:
        own = leased.snapshots("native")
        assert (await own.prepare("key"))[0].type == "bind"
        assert (await own.stat("key")).kind is Kind.ACTIVE
        await own.commit("name", "key", {"l": "1"})
        assert [info.name async for info in own.walk(["kind==committed"])] == ["name"]
        await own.view("look", "name")
        with pytest.raises(FailedPrecondition):
            await own.remove("name")
        await own.remove("look")
        await own.remove("name")


async def test_leases_end_with_their_block(address: str) -> None:
    async with Client(address, NAMESPACE) as client:
        async with client.leased() as leased:
            assert [lease.id for lease in await client.leases.list()] == [leased.lease]
            async with leased.leased() as same:
                assert same.lease == leased.lease
        assert await client.leases.list() == []


def test_the_same_without_await(address: str) -> None:
    out = bytearray()
    with plain.Client(address, NAMESPACE) as client:
        assert client.run(options("plain", "echo", "hi"), Streams(stdout=out.extend)).status == 0
        assert bytes(out) == b"hi\n"
        assert [image.name for image in client.images.list()] == [IMAGE]
        assert len(list(client.content.walk())) == 4
        with client.leased() as leased, leased.leases.held() as second:
            assert second in [lease.id for lease in client.leases.list()]
        assert client.leases.list() == []
        with pytest.raises(NotFound, match="nosuch"):
            client.images.get("nosuch")


def test_events_are_drawn_as_they_come(address: str) -> None:
    with plain.Client(address, NAMESPACE) as client:
        events = client.events.subscribe(['topic=="/namespaces/create"'])
        threading.Timer(0.5, lambda: client.namespaces.create("spare")).start()
        assert b"spare" in next(events).event.value
        events.close()
        client.namespaces.delete("spare")


def test_many_threads_share_one_client(address: str) -> None:
    with plain.Client(address, NAMESPACE) as client:
        found: list[int] = []
        threads = [threading.Thread(target=lambda: found.append(len(client.images.list()))) for _ in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert found == [1] * 16


async def test_nobody_answers() -> None:
    async with Client("/tmp/corten-test-nobody.sock") as client:
        with pytest.raises(Unavailable, match="is cortend running"):
            await client.introspection.version()
