"""Transfers under way are seen by others than the client that began them, and counted when they end."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager

import pytest
from aiohttp import web
from corten.api.types.transfer.imagestore_pb2 import ImageStore
from corten.api.types.transfer.registry_pb2 import OCIRegistry, RegistryResolver
from corten.client.client import Client
from corten.contracts.transfer import TransferState
from corten.errors import NotFound
from daemon import Daemon, running_daemon
from lying_registry import IMAGE, is_layer, serving

pytestmark = [pytest.mark.integration, pytest.mark.timeout(60)]


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    with running_daemon() as running:
        yield running


@asynccontextmanager
async def slow() -> AsyncIterator[tuple[str, asyncio.Event]]:
    """A registry that sends a part of the layer, and the rest when it is let."""
    go = asyncio.Event()

    async def first(request: web.Request) -> web.StreamResponse | None:
        if not is_layer(request):
            return None
        data = IMAGE.blobs[request.path.rpartition("/")[2]]
        response = web.StreamResponse()
        response.content_length = len(data)
        await response.prepare(request)
        await response.write(data[: 2 << 20])
        await go.wait()
        await response.write(data[2 << 20 :])
        return response

    async with serving(first) as (address, _):
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


async def test_a_pull_is_seen_by_others(daemon: Daemon) -> None:
    async with slow() as (address, go), Client(daemon.address, "one") as client, Client(daemon.address, "two") as other:
        name = f"{address}/x:tag"
        pulling = asyncio.ensure_future(client.transfers.run(source(name), ImageStore(name=name)))
        size = sum(map(len, IMAGE.blobs.values()))
        state = await seen(other, lambda state: state.done >= 2 << 20)
        assert (state.kind, state.namespace, state.image) == ("pull", "one", name)
        assert (state.total, state.items, state.items_done) == (size, 3, 2)
        assert 2 << 20 <= state.done < size
        assert state.event == f"Pulling from OCI Registry ({name})"
        shown = await asyncio.to_thread(daemon.corten, "pulls")
        header, line = shown.stdout.splitlines()
        assert header.split() == ["KIND", "NAMESPACE", "IMAGE", "BYTES", "BLOBS", "BEGAN", "STATE"]
        assert line.startswith(f"pull  one        {name}  ")
        assert "2 of 3" in line
        assert await other.transfers.under_way("two") == []
        go.set()
        await pulling
        assert await other.transfers.under_way() == []


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
