"""The event exchange: one order of events for all subscribers, each with a bounded queue of its own."""

import time
from collections.abc import Sequence
from contextlib import aclosing
from threading import Lock

from corten import filters as filter_language
from corten.contracts.events import Envelope
from corten.events import envelopes
from corten.events.bounds import SUBSCRIBER_BOUND
from corten.events.subscription import Subscription
from corten.plugin.hooks import HookRelay
from corten.supervisor import Supervisor


class EventExchange:
    """Fulfils `Exchange`; a subscriber costs its queue, and nothing else while it waits."""

    def __init__(self, subscriber_bound: int = SUBSCRIBER_BOUND) -> None:
        self._bound = subscriber_bound
        self._lock = Lock()
        self._subscriptions: list[Subscription] = []

    def __repr__(self) -> str:
        return f"EventExchange({len(self._subscriptions)} subscribers)"

    def publish(self, namespace: str, topic: str, event: object) -> None:
        envelopes.validate_names(namespace, topic)
        value = envelopes.packed(event)
        with self._lock:
            self._deliver(Envelope(time.time_ns(), namespace, topic, value))

    def forward(self, envelope: Envelope) -> None:
        envelopes.validate(envelope)
        with self._lock:
            self._deliver(envelope)

    def subscribe(self, filters: Sequence[str] = ()) -> Subscription:
        subscription = Subscription(filter_language.compile(filters), self._bound, self._forget)
        with self._lock:
            self._subscriptions.append(subscription)
        return subscription

    def _deliver(self, envelope: Envelope) -> None:
        lookup = envelopes.lookup(envelope)
        ended = [each for each in self._subscriptions if not each.offer(envelope, lookup)]
        for each in ended:
            self._subscriptions.remove(each)

    def _forget(self, subscription: Subscription) -> None:
        with self._lock:
            if subscription in self._subscriptions:
                self._subscriptions.remove(subscription)


class ExchangePlugin(EventExchange):
    """The exchange as the daemon runs it: events of tasks also reach the hook `task_event`."""

    def __init__(self, subscriber_bound: int, hooks: HookRelay, supervisor: Supervisor) -> None:
        super().__init__(subscriber_bound)
        self._hooks = hooks
        self._supervisor = supervisor
        self._first: Subscription | None = None

    async def start(self) -> None:
        self._first = self._of_tasks()
        self._supervisor.job("task events to hooks", self._tell_hooks)

    async def _tell_hooks(self) -> None:
        events, self._first = self._first or self._of_tasks(), None
        async with aclosing(events):
            async for envelope in events:
                if self._hooks.has("task_event"):
                    await self._hooks.task_event(envelope)

    def _of_tasks(self) -> Subscription:
        return self.subscribe(["topic~=|^/tasks/|"])
