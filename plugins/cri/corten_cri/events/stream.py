"""GetContainerEvents: each change with the state of the pod and its containers at that moment.

What happens while nobody listens is kept for a while, and told to the first who does: a kubelet that starts again
misses nothing.
"""

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Sequence

from corten.api.cri.v1 import runtime_pb2 as pb
from corten.errors import ResourceExhausted
from corten.values import dataclass
from corten.wire.service import CallContext

from ..containers import answers as containers
from ..parts import Parts
from ..pods import answers as pods
from ..state.containers import Container
from ..state.pods import Pod

BOUND = 4096
"""Events that wait for one listener; one more ends it."""
KEPT = 1000
"""Events that are kept while nobody listens, the newest."""
KEPT_FOR = 300.0
"""Seconds for which they are kept."""


@dataclass(frozen=True, slots=True)
class _Event:
    """Records are frozen, so that keeping them is keeping the moment; the message is made when it is sent."""

    kind: int
    id: str
    at: int
    pod: Pod | None
    containers: Sequence[Container]


class _Listener:
    def __init__(self, before: Sequence[_Event]) -> None:
        self.events = deque(before)
        self.news = asyncio.Event()
        self.lost = False

    def offer(self, event: _Event) -> None:
        if len(self.events) < BOUND:
            self.events.append(event)
        else:
            self.lost = True
        self.news.set()


class EventStream:
    """Fulfils `ContainerEvents`; used on the event loop."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._listeners: set[_Listener] = set()
        self._kept: deque[_Event] = deque(maxlen=KEPT)

    def publish(self, kind: int, id: str, pod_id: str) -> None:
        """Costs a walk over the containers, no message."""
        parts = self._parts
        event = _Event(kind, id, time.time_ns(), parts.pods.find(pod_id), parts.containers_of(pod_id))
        if not self._listeners:
            if len(self._kept) == KEPT:
                parts.timers.dropped.add()
            self._kept.append(event)
        for listener in self._listeners:
            listener.offer(event)

    async def get_container_events(
        self, request: pb.GetEventsRequest, call: CallContext
    ) -> AsyncIterator[pb.ContainerEventResponse]:
        """Until the client goes. Raises ResourceExhausted for one that does not read."""
        listener = _Listener(self._of_late())
        self._listeners.add(listener)
        try:
            while True:
                while listener.events and not listener.lost:
                    yield self._message(listener.events.popleft())
                if listener.lost:
                    raise ResourceExhausted(
                        f"container events: the client fell {BOUND} events behind; list the containers and ask again"
                    )
                listener.news.clear()
                await listener.news.wait()
        finally:
            self._listeners.discard(listener)

    def _of_late(self) -> list[_Event]:
        """What was kept for whoever comes first."""
        since = time.time_ns() - int(KEPT_FOR * 1e9)
        kept = [event for event in self._kept if event.at >= since]
        self._kept.clear()
        return kept

    def _message(self, event: _Event) -> pb.ContainerEventResponse:
        message = pb.ContainerEventResponse(
            container_id=event.id,
            container_event_type=pb.ContainerEventType.Name(event.kind),
            created_at=event.at,
            containers_statuses=[self._status(each) for each in event.containers],
        )
        if event.pod is not None:
            message.pod_sandbox_status.CopyFrom(pods.status(event.pod))
        return message

    def _status(self, container: Container) -> pb.ContainerStatus:
        images = self._parts.images.images
        return containers.status(container, images.known(container.image_id))
