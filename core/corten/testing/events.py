"""Of the event exchange: `RecordingExchange`, which keeps all it was given, and the conformance suite.

    exchange = RecordingExchange()
    store = MyStore(exchange)
    store.create(...)
    assert exchange.topics == ["/images/create"]
    assert exchange.messages[0].name == "busybox"

A test of an exchange runs every function of `SUITE` with a callable that makes a new one:

    @pytest.mark.parametrize("check", SUITE, ids=lambda check: check.__name__)
    async def test_conformance(check):
        await check(lambda: MyExchange())
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import replace
from threading import Lock, Thread
from typing import Any

from corten import filters as filter_language
from corten.api.events.image_pb2 import ImageCreate
from corten.api.events.task_pb2 import TaskStart
from corten.contracts.events import Envelope, Exchange
from corten.contracts.objects import AnyValue
from corten.errors import CortenError, InvalidArgument
from corten.events import envelopes
from corten.events.subscription import Subscription


class RecordingExchange:
    """An exchange that remembers; `envelopes` holds all that was published and forwarded, in order."""

    def __init__(self) -> None:
        self.envelopes: list[Envelope] = []
        self._subscriptions: list[Subscription] = []
        self._lock = Lock()

    def __repr__(self) -> str:
        return f"RecordingExchange({self.topics})"

    @property
    def topics(self) -> list[str]:
        """The topics alone, in order."""
        return [envelope.topic for envelope in self.envelopes]

    @property
    def messages(self) -> list[Any]:
        """The events, decoded; None where the type is not known."""
        return [envelopes.unpacked(envelope.event) for envelope in self.envelopes]

    def publish(self, namespace: str, topic: str, event: object) -> None:
        self.forward(Envelope(time.time_ns(), namespace, topic, envelopes.packed(event)))

    def forward(self, envelope: Envelope) -> None:
        envelopes.validate(envelope)
        lookup = envelopes.lookup(envelope)
        with self._lock:
            self.envelopes.append(envelope)
            self._subscriptions = [each for each in self._subscriptions if each.offer(envelope, lookup)]

    def subscribe(self, filters: Sequence[str] = ()) -> Subscription:
        subscription = Subscription(filter_language.compile(filters))
        with self._lock:
            self._subscriptions.append(subscription)
        return subscription


Make = Callable[[], Exchange]
EVENT = TaskStart(container_id="c1", pid=7)


async def _take(events: Any, number: int) -> list[Envelope]:
    return [await asyncio.wait_for(anext(events), 10) for _ in range(number)]


def _refused(call: Callable[[], object]) -> bool:
    try:
        call()
    except InvalidArgument:
        return True
    except CortenError:
        return False
    return False


async def delivers_in_order(make: Make) -> None:
    """What was published after `subscribe` returned arrives, stamped, in the order of publishing."""
    exchange = make()
    exchange.publish("ns", "/tasks/before", EVENT)
    async with aclosing(exchange.subscribe()) as events:
        for number in range(50):
            exchange.publish("ns", f"/tasks/t{number}", EVENT)
        seen = await _take(events, 50)
    assert [each.topic for each in seen] == [f"/tasks/t{number}" for number in range(50)]
    assert [each.timestamp for each in seen] == sorted(each.timestamp for each in seen)
    assert all(each.timestamp > 0 for each in seen)


async def names_types_without_a_host(make: Make) -> None:
    """The type URL of a published message is its full name; an `AnyValue` goes through unchanged."""
    exchange = make()
    opaque = AnyValue("com.example.Unknown", b"\xff\x00")
    async with aclosing(exchange.subscribe()) as events:
        exchange.publish("ns", "/tasks/start", EVENT)
        exchange.publish("ns", "/example/thing", opaque)
        first, second = await _take(events, 2)
    assert first.event == AnyValue("containerd.events.TaskStart", EVENT.SerializeToString())
    assert second.event == opaque


async def filters_by_namespace_topic_and_field(make: Make) -> None:
    """Each subscriber gets what matches any of its filters."""
    exchange = make()
    wanted = ['topic=="/tasks/start",event.container_id==c1', 'event.labels."a.b/c"==yes,namespace==other']
    async with aclosing(exchange.subscribe(wanted)) as events:
        exchange.publish("ns", "/tasks/start", TaskStart(container_id="c2"))
        exchange.publish("ns", "/images/create", ImageCreate(name="i", labels={"a.b/c": "yes"}))
        exchange.publish("other", "/images/create", ImageCreate(name="i", labels={"a.b/c": "yes"}))
        exchange.publish("ns", "/tasks/start", EVENT)
        seen = await _take(events, 2)
    assert [(each.namespace, each.topic) for each in seen] == [("other", "/images/create"), ("ns", "/tasks/start")]


async def forwards_with_the_senders_time(make: Make) -> None:
    """A forwarded envelope arrives as it is."""
    exchange = make()
    envelope = Envelope(1_600_000_000_000_000_001, "ns", "/tasks/exit", AnyValue("x", b"y"))
    async with aclosing(exchange.subscribe()) as events:
        exchange.forward(envelope)
        assert await _take(events, 1) == [envelope]
        assert _refused(lambda: exchange.forward(replace(envelope, timestamp=0)))


async def refuses_bad_names(make: Make) -> None:
    """Topics, namespaces and filters that are malformed raise InvalidArgument, and nothing is sent."""
    exchange = make()
    async with aclosing(exchange.subscribe()) as events:
        for topic in ("", "/", "tasks/start", "/tasks//start", "/tasks/start/", "/tasks/st art", "/tasks/ä"):
            assert _refused(lambda topic=topic: exchange.publish("ns", topic, EVENT)), topic  # type: ignore[misc]
        for namespace in ("", "a b", "-a", "x" * 77):
            assert _refused(lambda name=namespace: exchange.publish(name, "/a", EVENT)), namespace  # type: ignore[misc]
        assert _refused(lambda: exchange.subscribe(["topic==="]))
        exchange.publish("ns", "/good", EVENT)
        assert [each.topic for each in await _take(events, 1)] == ["/good"]


async def takes_events_from_any_thread(make: Make) -> None:
    """Two subscribers see the events of several threads in one and the same order."""
    exchange = make()
    async with aclosing(exchange.subscribe()) as one, aclosing(exchange.subscribe()) as two:
        threads = [Thread(target=_publish_many, args=(exchange, number)) for number in range(4)]
        for thread in threads:
            thread.start()
        first, second = await _take(one, 400), await _take(two, 400)
        for thread in threads:
            thread.join()
    assert first == second
    for number in range(4):
        mine = [each.topic for each in first if each.namespace == f"n{number}"]
        assert mine == [f"/t/e{count}" for count in range(100)]


def _publish_many(exchange: Exchange, number: int) -> None:
    for count in range(100):
        exchange.publish(f"n{number}", f"/t/e{count}", EVENT)


async def ends_when_closed(make: Make) -> None:
    """A closed subscription ends its reader, also one that waits; closing again is harmless."""
    exchange = make()
    events = exchange.subscribe()
    waiting = asyncio.ensure_future(_drain(events))
    await asyncio.sleep(0)
    await events.aclose()
    await events.aclose()
    assert await asyncio.wait_for(waiting, 10) == []
    exchange.publish("ns", "/tasks/start", EVENT)


async def _drain(events: Any) -> list[Envelope]:
    return [envelope async for envelope in events]


SUITE: tuple[Callable[[Make], Awaitable[None]], ...] = (
    delivers_in_order,
    names_types_without_a_host,
    filters_by_namespace_topic_and_field,
    forwards_with_the_senders_time,
    refuses_bad_names,
    takes_events_from_any_thread,
    ends_when_closed,
)
