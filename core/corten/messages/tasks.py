"""Tasks and their processes."""

from collections.abc import Mapping
from typing import Protocol

from corten.api.services.tasks.v1 import tasks_pb2 as pb
from corten.api.types.task import task_pb2
from corten.contracts.runtime import Exit, ProcessState, Status, Stdio

from .values import time_of, timestamp

STATUSES: Mapping[Status, task_pb2.Status] = {
    Status.UNKNOWN: task_pb2.UNKNOWN,
    Status.CREATED: task_pb2.CREATED,
    Status.RUNNING: task_pb2.RUNNING,
    Status.STOPPED: task_pb2.STOPPED,
    Status.PAUSED: task_pb2.PAUSED,
    Status.PAUSING: task_pb2.PAUSING,
}


class HasStdio(Protocol):
    """The requests that name the streams of a process."""

    stdin: str
    stdout: str
    stderr: str
    terminal: bool


def stdio(request: HasStdio) -> Stdio:
    return Stdio(request.stdin, request.stdout, request.stderr, request.terminal)


def process_message(state: ProcessState) -> task_pb2.Process:
    """The id of a process is its exec id, and that of a task the container's."""
    return task_pb2.Process(
        container_id=state.container_id,
        id=state.exec_id or state.container_id,
        pid=state.pid,
        status=STATUSES[state.status],
        stdin=state.stdio.stdin,
        stdout=state.stdio.stdout,
        stderr=state.stdio.stderr,
        terminal=state.stdio.terminal,
        exit_status=state.exit_status,
        exited_at=timestamp(state.exited_at),
    )


def process_state(message: task_pb2.Process) -> ProcessState:
    return ProcessState(
        # containerd puts the task's own id into `id` and leaves `container_id` empty in lists.
        container_id=message.container_id or message.id,
        exec_id=message.id if message.container_id and message.id != message.container_id else "",
        pid=message.pid,
        status=next((status for status, number in STATUSES.items() if number == message.status), Status.UNKNOWN),
        stdio=Stdio(message.stdin, message.stdout, message.stderr, message.terminal),
        exit_status=message.exit_status,
        exited_at=time_of(message.exited_at),
    )


def delete_response(id: str, exit: Exit) -> pb.DeleteResponse:
    return pb.DeleteResponse(id=id, pid=exit.pid, exit_status=exit.status, exited_at=timestamp(exit.exited_at))
