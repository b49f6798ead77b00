"""Tasks and their processes."""

from collections.abc import Mapping
from typing import Protocol

from corten.api.services.tasks.v1 import tasks_pb2 as pb
from corten.api.types.task import task_pb2
from corten.contracts.runtime import Exit, ProcessState, Status, Stdio

from .values import timestamp

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


def delete_response(id: str, exit: Exit) -> pb.DeleteResponse:
    return pb.DeleteResponse(id=id, pid=exit.pid, exit_status=exit.status, exited_at=timestamp(exit.exited_at))
