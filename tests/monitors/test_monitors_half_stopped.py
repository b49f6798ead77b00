"""A stop that killed a task and failed to delete it is taken up again, and one that nobody began is not begun."""

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest
from corten.api.services.tasks.v1 import tasks_pb2 as pb
from corten.contracts.metadata import Metadata
from corten.contracts.objects import Container
from corten.contracts.runtime import Exit, ProcessState, Runtime, Status, Stdio
from corten.errors import NotFound, Unavailable
from corten.pools import Pools
from corten.supervisor import Supervisor
from corten.wire.service import Service
from corten_monitors.restart import RestartMonitor

STOPPED = Container("c", labels={"containerd.io/restart.status": "stopped"})
TASKS = pb.DESCRIPTOR.services_by_name["Tasks"]


class OneTask:
    """A runtime with one task, which is its own service too; the first deletions fail."""

    def __init__(self, status: Status, failures: int) -> None:
        self.status: Status | None = status
        self.failures = failures
        self.services = [Service(TASKS, self)]

    async def get(self, *name: str) -> "OneTask":
        if self.status is None:
            raise NotFound("no such task")
        return self

    async def state(self) -> ProcessState:
        assert self.status is not None
        return ProcessState("c", "", 7, self.status, Stdio())

    async def kill(self, signal: int, *, all: bool = False) -> None:
        self.status = Status.STOPPED

    async def wait(self) -> Exit:
        return Exit(7, 137, 1)

    async def delete(self, request: pb.DeleteTaskRequest, call: object) -> pb.DeleteResponse:
        self.failures -= 1
        if self.failures >= 0:
            raise Unavailable("the disk is full")
        self.status = None
        return pb.DeleteResponse()


async def looked_twice(task: OneTask) -> None:
    """The monitor looks at the container two times, and each time all comes to its end."""
    containers = SimpleNamespace(walk=lambda _: [STOPPED])
    namespaces = SimpleNamespace(list=lambda: [SimpleNamespace(name="one")])
    metadata = cast("Metadata", SimpleNamespace(namespaces=namespaces, containers=lambda _: containers))
    pools, supervisor = Pools({"metadata": 1}), Supervisor()
    parts: Any = (cast("Runtime", task), task, pools, supervisor)
    monitor = RestartMonitor(metadata, *parts, interval=1, max_backoff=1)
    try:
        for _ in range(2):
            await monitor.reconcile()
            while supervisor.running["operations"]:  # noqa: ASYNC110  (nothing tells when it has none)
                await asyncio.sleep(0.01)
    finally:
        await supervisor.close()
        pools.close()


@pytest.mark.parametrize("failures", [0, 1])
async def test_a_task_that_is_to_stop_is_gone_in_the_end(failures: int) -> None:
    task = OneTask(Status.RUNNING, failures)
    await looked_twice(task)
    assert task.status is None


async def test_a_task_that_stopped_by_itself_is_left_to_who_wants_its_exit_code() -> None:
    task = OneTask(Status.STOPPED, 0)
    await looked_twice(task)
    assert task.status is Status.STOPPED
