"""Transfers under way are seen by others than the client that began them, and counted when they end."""

import asyncio
import http.client
import itertools
import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, closing

import pytest
from aiohttp import web
from corten import platforms
from corten.api.types.transfer.imagestore_pb2 import ImageStore, UnpackConfiguration
from corten.api.types.transfer.progress_pb2 import Progress
from corten.api.types.transfer.registry_pb2 import OCIRegistry, RegistryResolver
from corten.client.client import Client
from corten.contracts.transfer import TransferState
from corten.errors import NotFound
from corten.oci_image.build import File, Image, build, layer
from daemon import Daemon, running_daemon
from lying_registry import BIG, IMAGE, serving
from peers import free_port
from prometheus_client.parser import text_string_to_metric_families

pytestmark = [pytest.mark.integration, pytest.mark.timeout(60)]


@pytest.fixture(scope="module")
def port() -> int:
    return free_port()


@pytest.fixture(scope="module")
def daemon(port: int) -> Iterator[Daemon]:
    config = f"version: 4\nplugins:\n  io.containerd.server.v1.metrics: {{address: '127.0.0.1:{port}'}}\n"
    with running_daemon(config=config) as running:
        yield running


def figures(port: int) -> dict[tuple[str, str, str], float]:
    """The metrics of transfers by name, kind and image or status."""
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=20)) as connection:
        connection.request("GET", "/v1/metrics")
        families = list(text_string_to_metric_families(connection.getresponse().read().decode()))
    samples = [sample for family in families if "transfer" in family.name for sample in family.samples]
    last = ("image", "status")
    return {
        (
            sample.name,
            sample.labels.get("kind", ""),
            "".join(sample.labels.get(name, "") for name in last),
        ): sample.value
        for sample in samples
    }


@asynccontextmanager
async def slow(image: Image = IMAGE) -> AsyncIterator[tuple[str, asyncio.Event]]:
    """A registry that sends a part of the layer, and the rest when it is let.

    The part is 2 MiB, of which at least the half is stored at once: what is received is passed on in pieces of about
    one MiB, and the last of them is not full.
    """
    go = asyncio.Event()

    async def first(request: web.Request) -> web.StreamResponse | None:
        data = image.blobs.get(request.path.rpartition("/")[2], b"")
        if len(data) < len(BIG):
            return None
        response = web.StreamResponse()
        response.content_length = len(data)
        await response.prepare(request)
        await response.write(data[: 2 << 20])
        await go.wait()
        await response.write(data[2 << 20 :])
        return response

    async with serving(first, image) as (address, _):
        yield address, go


def source(name: str) -> OCIRegistry:
    return OCIRegistry(reference=name, resolver=RegistryResolver(default_scheme="http"))


async def seen(client: Client, enough: Callable[[TransferState], bool]) -> TransferState:
    """The one transfer there is, once it is far enough."""
    for _ in range(400):
        found = await client.transfers.under_way()
        if found and enough(found[0]):
            return found[0]
        await asyncio.sleep(0.02)
    raise AssertionError(f"it gets no further: {await client.transfers.under_way()}")


async def test_a_pull_is_seen_by_others(daemon: Daemon, port: int) -> None:
    async with slow() as (address, go), Client(daemon.address, "one") as client, Client(daemon.address, "two") as other:
        name = f"{address}/x:tag"
        pulling = asyncio.ensure_future(client.transfers.run(source(name), ImageStore(name=name)))
        size = sum(map(len, IMAGE.blobs.values()))
        state = await seen(other, lambda state: state.done >= 1 << 20)
        assert (state.kind, state.namespace, state.image) == ("pull", "one", name)
        assert (state.total, state.items, state.items_done) == (size, 3, 2)
        assert 1 << 20 <= state.done < size
        assert state.event == f"Pulling from OCI Registry ({name})"
        shown = await asyncio.to_thread(daemon.corten, "pulls")
        header, line = shown.stdout.splitlines()
        assert header.split() == ["KIND", "NAMESPACE", "IMAGE", "BYTES", "BLOBS", "BEGAN", "STATE"]
        assert line.startswith(f"pull  one        {name}  ")
        assert "2 of 3" in line
        assert await other.transfers.under_way("two") == []
        metrics = await asyncio.to_thread(figures, port)
        assert metrics["corten_transfers_under_way", "", ""] == 1
        assert 1 << 20 <= metrics["corten_transfer_done_bytes", "pull", name] < size
        assert metrics["corten_transfer_size_bytes", "pull", name] == size
        go.set()
        await pulling
        metrics = await asyncio.to_thread(figures, port)
        assert metrics["corten_transfers_under_way", "", ""] == 0
        assert ("corten_transfer_done_bytes", "pull", name) not in metrics
        assert metrics["corten_transfers_total", "pull", "success"] >= 1
        assert metrics["corten_transfer_bytes_total", "pull", ""] >= size
        assert await other.transfers.under_way() == []


async def test_a_layer_that_is_unpacked_while_it_arrives_is_arriving(daemon: Daemon) -> None:
    """It is not here before all of it came, and no client is told now of its arrival, now of its unpacking."""
    told: list[Progress] = []
    image = build("x", [layer([File("other", BIG)], compressed=False)], platforms.host(), {})
    blob = max(image.blobs, key=lambda digest: len(image.blobs[digest]))
    store = ImageStore(name="x", unpacks=[UnpackConfiguration(snapshotter="native")])
    async with slow(image) as (address, go), Client(daemon.address, "both") as client:
        pulling = asyncio.ensure_future(client.transfers.run(source(f"{address}/x:tag"), store, told.append))
        for _ in range(400):
            if [each async for each in client.snapshots("native").walk()]:
                break  # its unpacking has begun
            await asyncio.sleep(0.02)
        state = await seen(client, lambda state: state.done >= 1 << 20)
        assert state.items_done == 2
        assert state.done < state.total
        go.set()
        await pulling
    events = [event for event, _ in itertools.groupby(each.event for each in told if each.name.endswith(blob))]
    assert events in (
        ["waiting", "downloading", "complete", "extracting", "extracted"],
        ["waiting", "downloading", "complete", "extracted"],
    )


async def test_what_has_ended_is_counted(daemon: Daemon) -> None:
    async with Client(daemon.address, "count") as client, slow() as (address, go):
        go.set()
        before = {each.kind: each for each in await client.transfers.totals()}
        name = f"{address}/x:tag"
        await client.transfers.run(source(name), ImageStore(name=name))
        await client.transfers.run(source(name), ImageStore(name=name))
        with pytest.raises(NotFound):
            await client.transfers.run(source(f"{address}/x:none"), ImageStore(name=name))
    said = await asyncio.to_thread(daemon.corten, "pulls", "--totals", "--format", "json")
    (now,) = [each for each in json.loads(said.stdout) if each["kind"] == "pull"]
    old = before.get("pull")
    completed, failed, moved = (old.completed, old.failed, old.bytes) if old else (0, 0, 0)
    size = sum(map(len, IMAGE.blobs.values()))
    assert (now["completed"] - completed, now["failed"] - failed, now["bytes"] - moved) == (2, 1, size)
