"""The event exchange and the services in front of it."""

import asyncio
import threading
from collections.abc import Awaitable, Callable
from contextlib import aclosing

import pytest
from corten.api.events.task_pb2 import TaskExit, TaskStart
from corten.api.services.events.v1 import events_pb2 as pb
from corten.api.services.ttrpc.events.v1 import events_pb2 as ttrpc_pb
from corten.api.types.event_pb2 import Envelope as EnvelopeMessage
from corten.contracts.events import Envelope, Exchange
from corten.errors import FailedPrecondition, InvalidArgument, ResourceExhausted
from corten.plugin.hooks import HookRelay, hookimpl
from corten.plugin.types import EVENT
from corten.pools import Pools
from corten.testing.calls import Attempt, Caller, Outcome, abandon_at_every_step
from corten.testing.events import SUITE, RecordingExchange
from corten_services.config import ExchangeConfig
from corten_services.exchange import EventExchange
from google.protobuf.any_pb2 import Any
from services.doubles import MakeContext, service, started

Check = Callable[[Callable[[], Exchange]], Awaitable[None]]


@pytest.mark.parametrize("make", [EventExchange, RecordingExchange])
@pytest.mark.parametrize("check", SUITE, ids=lambda check: check.__name__)
async def test_exchange_conformance(check: Check, make: Callable[[], Exchange]) -> None:
    await check(make)


async def test_the_bound_ends_one_subscriber_and_not_the_others(make_context: MakeContext) -> None:
    exchange = started("io.containerd.event.v1.exchange", make_context(config=ExchangeConfig(subscriber_bound=10)))
    async with aclosing(exchange.subscribe()) as slow, aclosing(exchange.subscribe()) as quick:
        for number in range(30):
            exchange.publish("ns", f"/t/e{number}", TaskStart())
            assert (await anext(quick)).topic == f"/t/e{number}"
        with pytest.raises(ResourceExhausted, match=r"10 events behind.*subscriber_bound"):
            await anext(slow)
        with pytest.raises(StopAsyncIteration):
            await anext(slow)
    assert "0 subscribers" in repr(exchange)


async def test_a_bound_of_nothing_is_refused(make_context: MakeContext) -> None:
    with pytest.raises(InvalidArgument, match="subscriber_bound is 0"):
        started("io.containerd.event.v1.exchange", make_context(config=ExchangeConfig(subscriber_bound=0)))


async def test_idle_subscribers_cost_no_thread_and_no_task() -> None:
    exchange = EventExchange()
    threads, tasks = threading.active_count(), len(asyncio.all_tasks())
    subscriptions = [exchange.subscribe() for _ in range(200)]
    await asyncio.sleep(0.05)
    assert threading.active_count() <= threads  # those of earlier tests may end meanwhile
    assert len(asyncio.all_tasks()) == tasks
    for each in subscriptions:
        await each.aclose()


class Watches:
    """Keeps what the hook `task_event` shows it."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        self.enough = threading.Event()

    @hookimpl
    def task_event(self, envelope: Envelope) -> None:
        self.seen.append(envelope.topic)
        if len(self.seen) == 2:
            self.enough.set()


async def test_task_events_reach_hooks(make_context: MakeContext) -> None:
    watches, pools = Watches(), Pools()
    hooks = HookRelay(pools)
    hooks.register("io.corten.test.v1.watches", watches)
    exchange = started("io.containerd.event.v1.exchange", make_context(hooks=hooks, pools=pools))
    await exchange.start()
    for topic in ("/tasks/start", "/images/create", "/tasks/exit"):
        exchange.publish("ns", topic, TaskExit())
    assert await asyncio.to_thread(watches.enough.wait, 10)
    assert watches.seen == ["/tasks/start", "/tasks/exit"]


async def test_publish_and_forward_reach_subscribers(make_context: MakeContext) -> None:
    exchange = EventExchange()
    context = make_context(instances={(EVENT, "exchange"): exchange})
    caller = Caller(service("events", context), namespace="blue")
    event = Any(type_url="containerd.events.TaskStart", value=TaskStart(container_id="c").SerializeToString())
    async with aclosing(caller.stream("Subscribe", pb.SubscribeRequest(filters=["event.container_id==c"]))) as replies:  # type: ignore[type-var]
        first: asyncio.Future[EnvelopeMessage] = asyncio.ensure_future(anext(replies))
        await asyncio.sleep(0)
        await caller.unary("Publish", pb.PublishRequest(topic="/tasks/start", event=event))
        got = await first
        assert (got.namespace, got.topic, got.event) == ("blue", "/tasks/start", event)
        got.topic, got.timestamp.nanos = "/tasks/again", 5
        await caller.unary("Forward", pb.ForwardRequest(envelope=got))
        assert await anext(replies) == got
        shim = Caller(started("io.containerd.ttrpc.v1.events", context).services[0])
        await shim.unary("Forward", ttrpc_pb.ForwardRequest(envelope=got))
        assert await anext(replies) == got
    assert "0 subscribers" in repr(exchange)


async def test_bad_events_are_refused(make_context: MakeContext) -> None:
    caller = Caller(service("events", make_context(instances={(EVENT, "exchange"): EventExchange()})))
    nameless = Caller(service("events", make_context(instances={(EVENT, "exchange"): EventExchange()})), namespace="")
    event = Any(type_url="x")
    with pytest.raises(InvalidArgument, match="topic"):
        await caller.unary("Publish", pb.PublishRequest(topic="no-slash", event=event))
    with pytest.raises(InvalidArgument, match="no event"):
        await caller.unary("Publish", pb.PublishRequest(topic="/a"))
    with pytest.raises(InvalidArgument, match="no envelope"):
        await caller.unary("Forward", pb.ForwardRequest())
    with pytest.raises(InvalidArgument, match="timestamp"):
        await caller.unary("Forward", pb.ForwardRequest(envelope=EnvelopeMessage(namespace="n", topic="/a")))
    with pytest.raises(InvalidArgument, match="filter"):
        await caller.replies("Subscribe", pb.SubscribeRequest(filters=["topic=="]))
    with pytest.raises(FailedPrecondition, match="namespace"):
        await nameless.unary("Publish", pb.PublishRequest(topic="/a", event=event))


async def test_a_subscriber_that_goes_at_any_step_leaves_nothing(make_context: MakeContext) -> None:
    async def fresh() -> Attempt:
        exchange = EventExchange()
        events = service("events", make_context(instances={(EVENT, "exchange"): exchange}))
        asyncio.get_running_loop().call_later(0.01, exchange.publish, "ns", "/a", TaskStart())
        return Attempt(events, "Subscribe", pb.SubscribeRequest(), state=exchange)

    async def check(attempt: Attempt, outcome: Outcome) -> None:
        assert "0 subscribers" in repr(attempt.state)
        if outcome.step >= 3:
            raise _EnoughError

    with pytest.raises(_EnoughError):  # a subscription never ends of itself
        await abandon_at_every_step(fresh, check)


class _EnoughError(Exception):
    pass
