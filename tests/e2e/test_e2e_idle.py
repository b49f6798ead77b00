"""Idle callers cost no thread, and a subscriber that does not read is ended at the stated bound."""

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from corten.api.services.events.v1 import events_pb2
from corten.api.services.tasks.v1 import tasks_pb2
from corten.api.types import event_pb2 as types_pb2
from corten.errors import ResourceExhausted
from corten.wire.channel import Channel
from counts import count
from nodes import Node
from peers import Ctr, wait_until

pytestmark = pytest.mark.integration

TASKS = tasks_pb2.DESCRIPTOR.services_by_name["Tasks"].methods_by_name
EVENTS = events_pb2.DESCRIPTOR.services_by_name["Events"].methods_by_name


def threads_of(pid: int) -> int:
    text = Path(f"/proc/{pid}/status").read_text()
    return next(int(line.split()[1]) for line in text.splitlines() if line.startswith("Threads:"))


def descriptors_of(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


async def test_idle_waits_cost_no_thread(node: Node, ctr: Ctr, pulled: str) -> None:
    ctr("run", "-d", pulled, "idle", "sleep", "1000")
    headers = {"containerd-namespace": ctr.namespace}
    request = tasks_pb2.WaitRequest(container_id="idle")
    async with AsyncExitStack() as stack:
        channels = [await stack.enter_async_context(Channel(node.address)) for _ in range(4)]
        await channels[0].unary(TASKS["Get"], tasks_pb2.GetRequest(container_id="idle"), metadata=headers)
        before = threads_of(node.pid)
        waits = [
            asyncio.create_task(channels[n % 4].unary(TASKS["Wait"], request, metadata=headers))
            for n in range(count("idle waits"))
        ]
        await asyncio.sleep(2)
        assert not any(wait.done() for wait in waits)
        assert threads_of(node.pid) <= before + 2
        for wait in waits[::2]:
            wait.cancel()
        ctr("tasks", "kill", "-s", "SIGKILL", "idle")
        answers = await asyncio.gather(*waits[1::2])
        assert {answer.exit_status for answer in answers} == {137}


async def test_idle_subscribers_cost_no_thread_and_go_with_their_client(node: Node, ctr: Ctr) -> None:
    descriptors = descriptors_of(node.pid)
    async with AsyncExitStack() as stack:
        channels = [await stack.enter_async_context(Channel(node.address)) for _ in range(4)]
        before = threads_of(node.pid)
        request = events_pb2.SubscribeRequest(filters=[f"namespace=={ctr.namespace}"])
        streams = [
            channels[n % 4].server_stream(EVENTS["Subscribe"], request) for n in range(count("idle subscribers"))
        ]
        firsts: list[asyncio.Future[types_pb2.Envelope]] = [asyncio.ensure_future(anext(stream)) for stream in streams]
        await asyncio.sleep(2)
        assert threads_of(node.pid) <= before + 2
        ctr("content", "ingest", "one", input="hello")
        topics = {envelope.topic for envelope in await asyncio.gather(*firsts)}
        assert topics <= {"/content/create", "/namespaces/create"}
    wait_until(lambda: descriptors_of(node.pid) <= descriptors + 8, "the streams' descriptors are closed")


async def test_a_subscriber_that_does_not_read_is_ended_at_the_bound(node: Node, ctr: Ctr) -> None:
    headers = {"containerd-namespace": ctr.namespace}
    async with Channel(node.address) as lazy, Channel(node.address) as busy:
        stream = lazy.server_stream(EVENTS["Subscribe"], events_pb2.SubscribeRequest(filters=['topic=="/flood"']))
        first: asyncio.Future[types_pb2.Envelope] = asyncio.ensure_future(anext(stream))
        await asyncio.sleep(0.5)
        event = {"type_url": "example.Flood", "value": b"x" * 10000}
        request = events_pb2.PublishRequest(topic="/flood", event=event)
        for _ in range(60):
            await asyncio.gather(*(busy.unary(EVENTS["Publish"], request, metadata=headers) for _ in range(200)))
        await first
        with pytest.raises(ResourceExhausted, match=r"\d+"):
            async for _ in stream:
                pass
