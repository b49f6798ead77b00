"""GetContainerEvents: what happens, with the state at that moment."""

import asyncio
from dataclasses import dataclass, field
from typing import Any

import pytest
from corten.api.cri.v1 import runtime_pb2 as pb
from corten.errors import ResourceExhausted
from corten_cri.events.stream import BOUND, KEPT, EventStream
from corten_cri.state.containers import Container
from corten_cri.state.pods import Pod
from corten_cri.state.table import Table
from corten_cri.timers import Timers
from cri.cri_world import Cri


async def events_until(stream: Any, kind: int, id: str) -> list[Any]:
    """Everything up to an event."""
    found = []
    async with asyncio.timeout(20):
        async for event in stream:
            found.append(event)
            if (event.container_event_type, event.container_id) == (kind, id):
                return found
    raise AssertionError("the stream ended")


@pytest.mark.integration
async def test_the_life_of_a_pod_and_its_container_is_told(cri: Cri) -> None:
    stream: Any = cri.stream("GetContainerEvents", pb.GetEventsRequest())
    waiting = asyncio.ensure_future(anext(stream))
    await asyncio.sleep(0.2)
    pod = await cri.run_pod()
    container = await cri.started(pod, "sleep", "1000", annotations={"own": "yes"})
    await cri.stop(container)
    await cri.remove(container)
    await cri.stop_pod(pod)
    await cri.remove_pod(pod)
    first = await asyncio.wait_for(waiting, 20)
    rest = await events_until(stream, pb.CONTAINER_DELETED_EVENT, pod)
    await stream.aclose()
    own = [each for each in [first, *rest] if each.container_id in (pod, container)]
    told = [(each.container_id, pb.ContainerEventType.Name(each.container_event_type)[10:-6]) for each in own]
    assert [kind for id, kind in told if id == container] == ["CREATED", "STARTED", "STOPPED", "DELETED"]
    assert [kind for id, kind in told if id == pod] == ["CREATED", "STARTED", "STOPPED", "DELETED"]
    assert [each.created_at for each in own] == sorted(each.created_at for each in own)
    by_kind = {kind: each for (id, kind), each in zip(told, own, strict=True) if id == container}
    started, stopped = by_kind["STARTED"], by_kind["STOPPED"]
    assert started.pod_sandbox_status.id == pod and started.pod_sandbox_status.state == pb.SANDBOX_READY
    assert [(each.id, each.state) for each in started.containers_statuses] == [(container, pb.CONTAINER_RUNNING)]
    assert dict(started.containers_statuses[0].annotations) == {"own": "yes"}
    assert started.containers_statuses[0].image.image == cri.node.image()
    assert [(each.state, each.exit_code) for each in stopped.containers_statuses] == [(pb.CONTAINER_EXITED, 137)]
    assert by_kind["DELETED"].containers_statuses == []


# ---------------------------------------------------------------- bounds
class NoImages:
    """No image is known."""

    @property
    def images(self) -> "NoImages":
        return self

    def known(self, id: str) -> None:
        return None

    def id_of(self, text: str) -> str:
        return ""


@dataclass
class FewParts:
    """What events need of the parts of CRI."""

    pods: Table[Pod] = field(default_factory=lambda: Table("pod"))
    containers: Table[Container] = field(default_factory=lambda: Table("container"))
    images: NoImages = field(default_factory=NoImages)
    timers: Timers = field(default_factory=Timers)

    def containers_of(self, pod_id: str) -> list[Container]:
        return [each for each in self.containers.all() if each.pod_id == pod_id]


def stream() -> EventStream:
    parts = FewParts()
    parts.containers.put(Container("c", "c", "p", pb.ContainerConfig(), "image"))
    return EventStream(parts)  # type: ignore[arg-type]


def listening(made: EventStream) -> Any:
    return made.get_container_events(pb.GetEventsRequest(), None)  # type: ignore[arg-type]


async def test_what_happens_while_nobody_listens_is_told_to_the_first_who_does() -> None:
    made = stream()
    for number in range(KEPT + 5):
        made.publish(pb.CONTAINER_STARTED_EVENT, f"c{number}", "p")
    first, second = listening(made), listening(made)
    told = [(await anext(first)).container_id for _ in range(KEPT)]
    assert told == [f"c{number}" for number in range(5, KEPT + 5)], "the newest are kept"
    waiting = asyncio.ensure_future(anext(second))
    await asyncio.sleep(0)
    made.publish(pb.CONTAINER_STOPPED_EVENT, "now", "p")
    assert (await waiting).container_id == "now" and (await anext(first)).container_id == "now"
    await first.aclose()
    await second.aclose()


async def test_a_listener_that_does_not_read_is_ended_at_the_bound() -> None:
    made = stream()
    slow = listening(made)
    waiting = asyncio.ensure_future(anext(slow))
    await asyncio.sleep(0)
    for number in range(BOUND + 2):
        made.publish(pb.CONTAINER_STARTED_EVENT, f"c{number}", "p")
    with pytest.raises(ResourceExhausted, match="events behind"):
        await waiting
    again = listening(made)
    next_one = asyncio.ensure_future(anext(again))
    await asyncio.sleep(0)
    made.publish(pb.CONTAINER_STOPPED_EVENT, "c", "p")
    assert (await next_one).container_id == "c"
    await again.aclose()
