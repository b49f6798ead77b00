"""The events of a container, built and handed to the publisher in the order in which they must be seen."""

import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from corten.api.events import task_pb2 as events
from corten.api.types import event_pb2
from google.protobuf.timestamp_pb2 import Timestamp

# ruff: noqa: E402  (what is imported below exists on Linux only)
assert sys.platform != "win32"

from .process import Process
from .reaper import Ended

if TYPE_CHECKING:
    from .container import Container


class Announcer:
    """Makes an envelope of each event and gives it to `publish`."""

    def __init__(self, namespace: str, publish: Callable[[event_pb2.Envelope], None]) -> None:
        self.namespace, self._publish = namespace, publish

    def create(self, container: "Container") -> None:
        making, init = container.making, container.init
        event = events.TaskCreate(
            container_id=container.id, bundle=making.bundle, checkpoint=making.checkpoint, pid=init.pid
        )
        event.rootfs.extend(making.rootfs)
        event.io.stdin, event.io.stdout, event.io.stderr, event.io.terminal = init.stdio
        self._send("/tasks/create", event)

    def start(self, container: "Container", process: Process) -> None:
        if process.id:
            event = events.TaskExecStarted(container_id=container.id, exec_id=process.id, pid=process.pid)
            self._send("/tasks/exec-started", event)
        else:
            self._send("/tasks/start", events.TaskStart(container_id=container.id, pid=process.pid))

    def exit(self, container: "Container", process: Process, ended: Ended) -> None:
        event = events.TaskExit(
            container_id=container.id, id=process.id or container.id, pid=process.pid, exit_status=ended.status
        )
        stamp(event.exited_at, ended.at)
        self._send("/tasks/exit", event)

    def delete(self, container: "Container", init: Process) -> None:
        ended = init.outcome or Ended(0, 0)
        event = events.TaskDelete(container_id=container.id, pid=init.pid, exit_status=ended.status)
        stamp(event.exited_at, ended.at)
        self._send("/tasks/delete", event)

    def exec_added(self, container: "Container", exec_id: str) -> None:
        self._send("/tasks/exec-added", events.TaskExecAdded(container_id=container.id, exec_id=exec_id))

    def paused(self, container: "Container") -> None:
        self._send("/tasks/paused", events.TaskPaused(container_id=container.id))

    def resumed(self, container: "Container") -> None:
        self._send("/tasks/resumed", events.TaskResumed(container_id=container.id))

    def oom(self, container: "Container") -> None:
        self._send("/tasks/oom", events.TaskOOM(container_id=container.id))

    def checkpointed(self, container: "Container", path: str) -> None:
        self._send("/tasks/checkpointed", events.TaskCheckpointed(container_id=container.id, checkpoint=path))

    def _send(self, topic: str, event: Any) -> None:
        envelope = event_pb2.Envelope(namespace=self.namespace, topic=topic)
        stamp(envelope.timestamp, time.time_ns())
        envelope.event.type_url = event.DESCRIPTOR.full_name
        envelope.event.value = event.SerializeToString()
        self._publish(envelope)


def stamp(timestamp: Timestamp, nanoseconds: int) -> None:
    """Set a Timestamp to nanoseconds since the epoch."""
    timestamp.seconds, timestamp.nanos = divmod(nanoseconds, 1_000_000_000)
