"""Tasks, the running side of containers, over the wire."""

from collections.abc import Mapping, Sequence

from corten.api.services.tasks.v1 import tasks_pb2 as pb
from corten.contracts.mounts import Mount
from corten.contracts.objects import AnyValue
from corten.contracts.runtime import Exit, ProcessState, Stdio
from corten.messages.tasks import process_state
from corten.messages.values import any_value, mount_messages, optional_any, optional_message, time_of
from corten.values import dataclass

from .calls import Calls, methods

_RPC = methods(pb, "Tasks")


@dataclass(frozen=True, slots=True)
class Metric:
    """A measurement of one task; `data` is `io.containerd.cgroups.v1.Metrics` or `…v2.Metrics`."""

    id: str
    timestamp: int
    data: AnyValue


class Tasks:
    """The tasks of a namespace. An empty exec id means init. Errors as `corten.contracts.runtime.Task`."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    async def create(
        self, id: str, rootfs: Sequence[Mount], stdio: Stdio, options: AnyValue | None = None, runtime_path: str = ""
    ) -> int:
        """Create the task of container `id`; returns the pid of its init, which waits for `start`."""
        request = pb.CreateTaskRequest(
            container_id=id,
            rootfs=mount_messages(rootfs),
            stdin=stdio.stdin,
            stdout=stdio.stdout,
            stderr=stdio.stderr,
            terminal=stdio.terminal,
            options=optional_message(options),
            runtime_path=runtime_path,
        )
        return int((await self._calls.unary(_RPC["Create"], request)).pid)

    async def start(self, id: str, exec_id: str = "") -> int:
        """Returns the pid."""
        return int((await self._calls.unary(_RPC["Start"], pb.StartRequest(container_id=id, exec_id=exec_id))).pid)

    async def get(self, id: str, exec_id: str = "") -> ProcessState:
        answer = await self._calls.unary(_RPC["Get"], pb.GetRequest(container_id=id, exec_id=exec_id))
        return process_state(answer.process)

    async def list(self) -> list[ProcessState]:
        answer = await self._calls.unary(_RPC["List"], pb.ListTasksRequest())
        return [process_state(message) for message in answer.tasks]

    async def kill(self, id: str, signal: int, exec_id: str = "", *, all: bool = False) -> None:
        request = pb.KillRequest(container_id=id, exec_id=exec_id, signal=signal, all=all)
        await self._calls.unary(_RPC["Kill"], request)

    async def exec(self, id: str, exec_id: str, process: AnyValue, stdio: Stdio) -> None:
        """Add a process, an OCI process as JSON; `start` with its exec id starts it."""
        request = pb.ExecProcessRequest(
            container_id=id,
            exec_id=exec_id,
            spec=optional_message(process),
            stdin=stdio.stdin,
            stdout=stdio.stdout,
            stderr=stdio.stderr,
            terminal=stdio.terminal,
        )
        await self._calls.unary(_RPC["Exec"], request)

    async def resize_pty(self, id: str, width: int, height: int, exec_id: str = "") -> None:
        request = pb.ResizePtyRequest(container_id=id, exec_id=exec_id, width=width, height=height)
        await self._calls.unary(_RPC["ResizePty"], request)

    async def close_stdin(self, id: str, exec_id: str = "") -> None:
        await self._calls.unary(_RPC["CloseIO"], pb.CloseIORequest(container_id=id, exec_id=exec_id, stdin=True))

    async def pause(self, id: str) -> None:
        await self._calls.unary(_RPC["Pause"], pb.PauseTaskRequest(container_id=id))

    async def resume(self, id: str) -> None:
        await self._calls.unary(_RPC["Resume"], pb.ResumeTaskRequest(container_id=id))

    async def pids(self, id: str) -> Sequence[tuple[int, AnyValue | None]]:
        """All processes of the container by their pid on the host."""
        answer = await self._calls.unary(_RPC["ListPids"], pb.ListPidsRequest(container_id=id))
        return [(message.pid, optional_any(message, "info")) for message in answer.processes]

    async def update(self, id: str, resources: AnyValue, annotations: Mapping[str, str] | None = None) -> None:
        request = pb.UpdateTaskRequest(
            container_id=id, resources=optional_message(resources), annotations=dict(annotations or {})
        )
        await self._calls.unary(_RPC["Update"], request)

    async def metrics(self, filters: Sequence[str] = ()) -> Sequence[Metric]:
        answer = await self._calls.unary(_RPC["Metrics"], pb.MetricsRequest(filters=filters))
        return [Metric(m.id, time_of(m.timestamp), any_value(m.data)) for m in answer.metrics]

    async def wait(self, id: str, exec_id: str = "") -> Exit:
        """Until the process has ended; the pid of the answer is 0."""
        answer = await self._calls.unary(_RPC["Wait"], pb.WaitRequest(container_id=id, exec_id=exec_id))
        return Exit(0, answer.exit_status, time_of(answer.exited_at))

    async def delete(self, id: str, exec_id: str = "") -> Exit:
        """Remove a process that has ended; the task itself with the empty exec id."""
        if exec_id:
            request = pb.DeleteProcessRequest(container_id=id, exec_id=exec_id)
            answer = await self._calls.unary(_RPC["DeleteProcess"], request)
        else:
            answer = await self._calls.unary(_RPC["Delete"], pb.DeleteTaskRequest(container_id=id))
        return Exit(answer.pid, answer.exit_status, time_of(answer.exited_at))
