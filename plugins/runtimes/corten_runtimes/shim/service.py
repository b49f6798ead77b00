"""The RPCs of `containerd.task.v2.Task` (v3 has the same table): requests in, container operations, answers out."""

import json
import os
import sys
from collections.abc import Callable, Mapping
from typing import Any

from corten.api.runtime.task.v2 import shim_pb2 as task
from corten.api.types.runc.options import oci_pb2
from corten.api.types.task import task_pb2
from corten.errors import AlreadyExists, FailedPrecondition, InvalidArgument, NotFound
from google.protobuf.empty_pb2 import Empty

# ruff: noqa: E402  (what is imported below exists on Linux only)
assert sys.platform != "win32"

from . import files, records
from .container import Container
from .events import Announcer, stamp
from .facts import spec_facts
from .loop import Loop, Steps
from .making import EXECS_MAX, Making
from .process import CREATED, PAUSED, PAUSING, RUNNING, STOPPED, Process
from .reaper import Ended, Reaper
from .server import Deferred
from .spawn import DEADLINE, RuncSettings
from .streaming import Streaming
from .streams import Stdio

SERVICES = ("containerd.task.v2.Task", "containerd.task.v3.Task")
_STATUS = {
    CREATED: task_pb2.CREATED,
    RUNNING: task_pb2.RUNNING,
    STOPPED: task_pb2.STOPPED,
    PAUSED: task_pb2.PAUSED,
    PAUSING: task_pb2.PAUSING,
}
_OPTIONS, _CHECKPOINT = "containerd.runc.v1.Options", "containerd.runc.v1.CheckpointOptions"
VERSION = "corten/2"
"""Protocol between daemon and shim, told by Connect: a newer daemon may meet an older shim.

1: one container, no service beside the task API. 2: several containers; `corten.shim.v1.Streams`.
"""

Handler = Callable[[Any], Steps[Any] | Deferred]


class TaskService:
    """Has a table of methods; containers by id. `shutdown` is called when the shim may end."""

    def __init__(
        self,
        loop: Loop,
        reaper: Reaper,
        announce: Announcer,
        streaming: Streaming,
        settings: Mapping[str, str],
        shutdown: Callable[[], None],
    ) -> None:
        self._loop, self._reaper, self._announce, self._streaming = loop, reaper, announce, streaming
        self.settings, self._shutdown = settings, shutdown
        self._containers: dict[str, Container] = {}
        self._creating: set[str] = set()
        self._made = 0
        self.pid = os.getpid()
        """What is told as the shim's pid."""
        self.methods: Mapping[str, tuple[Any, Handler]] = {
            "State": (task.StateRequest, self.state),
            "Create": (task.CreateTaskRequest, self.create),
            "Start": (task.StartRequest, self.start),
            "Delete": (task.DeleteRequest, self.delete),
            "Pids": (task.PidsRequest, self.pids),
            "Pause": (task.PauseRequest, self.pause),
            "Resume": (task.ResumeRequest, self.resume),
            "Checkpoint": (task.CheckpointTaskRequest, self.checkpoint),
            "Kill": (task.KillRequest, self.kill),
            "Exec": (task.ExecProcessRequest, self.exec),
            "ResizePty": (task.ResizePtyRequest, self.resize_pty),
            "CloseIO": (task.CloseIORequest, self.close_io),
            "Update": (task.UpdateTaskRequest, self.update),
            "Wait": (task.WaitRequest, self.wait),
            "Stats": (task.StatsRequest, self.stats),
            "Connect": (task.ConnectRequest, self.connect),
            "Shutdown": (task.ShutdownRequest, self.shutdown),
        }

    def kept(self) -> Any:
        """What `take_up` needs."""
        return self.settings, self._containers, self._made

    def take_up(self, state: Any) -> None:
        """Go on with what another worker had."""
        self.settings, self._containers, self._made = state

    @property
    def busy(self) -> bool:
        """Whether a process runs, or a container is being made."""
        running = (c for c in self._containers.values() if c.init.outcome is None)
        return bool(self._creating) or any(running)

    def create(self, request: task.CreateTaskRequest) -> Steps[task.CreateTaskResponse]:
        if request.id in self._containers or request.id in self._creating:
            raise AlreadyExists(f"task {request.id!r}: already exists")
        self._creating.add(request.id)
        try:
            making = self._making(request)
            if self.settings.get("records"):
                records.write(making.bundle, making.runc)
            container = Container(self._loop, self._reaper, self._announce, self._streaming, making)
            pid = yield from container.create()
        finally:
            self._creating.discard(request.id)
        self._containers[request.id] = container
        return task.CreateTaskResponse(pid=pid)

    def start(self, request: task.StartRequest) -> Steps[task.StartResponse]:
        return task.StartResponse(pid=(yield from self._container(request.id).start(request.exec_id)))

    def delete(self, request: task.DeleteRequest) -> Steps[task.DeleteResponse]:
        pid, ended = yield from self._container(request.id).delete(request.exec_id)
        if not request.exec_id:
            self._containers.pop(request.id, None)
        response = task.DeleteResponse(pid=pid, exit_status=ended.status)
        if ended.at:
            stamp(response.exited_at, ended.at)
        return response

    def state(self, request: task.StateRequest) -> Steps[task.StateResponse]:
        container = self._container(request.id)
        process = container.process(request.exec_id)
        response = task.StateResponse(
            id=container.id, exec_id=process.id, bundle=container.making.bundle, pid=process.pid,
            status=_STATUS.get(_visible(process), task_pb2.UNKNOWN),
            stdin=process.stdio.stdin, stdout=process.stdio.stdout, stderr=process.stdio.stderr,
            terminal=process.stdio.terminal,
        )  # fmt: skip
        if process.exited.done and process.outcome is not None:
            response.exit_status = process.outcome.status
            if process.outcome.at:
                stamp(response.exited_at, process.outcome.at)
        return response
        yield

    def wait(self, request: task.WaitRequest) -> Deferred:
        return Deferred(self._container(request.id).process(request.exec_id).exited, _waited)

    def pids(self, request: task.PidsRequest) -> Steps[task.PidsResponse]:
        response = task.PidsResponse()
        for pid, exec_id in self._container(request.id).pids():
            entry = response.processes.add(pid=pid)
            if exec_id:
                details = oci_pb2.ProcessDetails(exec_id=exec_id)
                entry.info.type_url = details.DESCRIPTOR.full_name
                entry.info.value = details.SerializeToString()
        return response
        yield

    def pause(self, request: task.PauseRequest) -> Steps[Empty]:
        yield from self._container(request.id).pause()
        return Empty()

    def resume(self, request: task.ResumeRequest) -> Steps[Empty]:
        yield from self._container(request.id).resume()
        return Empty()

    def kill(self, request: task.KillRequest) -> Steps[Empty]:
        yield from self._container(request.id).kill(request.signal, request.exec_id, request.all)
        return Empty()

    def exec(self, request: task.ExecProcessRequest) -> Steps[Empty]:
        if not request.exec_id:
            raise InvalidArgument(f"task {request.id!r}: an exec needs an id")
        stdio = Stdio(request.stdin, request.stdout, request.stderr, request.terminal)
        self._container(request.id).exec(request.exec_id, request.spec.value, stdio)
        return Empty()
        yield

    def resize_pty(self, request: task.ResizePtyRequest) -> Steps[Empty]:
        process = self._container(request.id).process(request.exec_id)
        if process.streams is not None:
            process.streams.resize(request.width, request.height)
        return Empty()
        yield

    def close_io(self, request: task.CloseIORequest) -> Steps[Empty]:
        process = self._container(request.id).process(request.exec_id)
        if process.streams is None:
            process.stdin_over = process.stdin_over or request.stdin
        elif request.stdin:
            process.streams.close_stdin()
        return Empty()
        yield

    def update(self, request: task.UpdateTaskRequest) -> Steps[Empty]:
        yield from self._container(request.id).update(request.resources.value)
        return Empty()

    def checkpoint(self, request: task.CheckpointTaskRequest) -> Steps[Empty]:
        options = oci_pb2.CheckpointOptions()
        if request.options.type_url.endswith(_CHECKPOINT):
            options.ParseFromString(request.options.value)
        path = options.image_path or request.path
        container = self._container(request.id)
        yield from container.checkpoint(path, options.work_path, _checkpoint_flags(options), options.exit)
        return Empty()

    def stats(self, request: task.StatsRequest) -> Steps[task.StatsResponse]:
        metrics = self._container(request.id).cgroups.metrics()
        response = task.StatsResponse()
        response.stats.type_url, response.stats.value = metrics.DESCRIPTOR.full_name, metrics.SerializeToString()
        return response
        yield

    def connect(self, request: task.ConnectRequest) -> Steps[task.ConnectResponse]:
        container = self._containers.get(request.id)
        task_pid = container.init.pid if container else 0
        return task.ConnectResponse(shim_pid=self.pid, task_pid=task_pid, version=VERSION)
        yield

    def shutdown(self, request: task.ShutdownRequest) -> Steps[Empty]:
        if not self._containers and not self._creating:
            self._shutdown()
        return Empty()
        yield

    def process(self, id: str, exec_id: str) -> Process:
        """A process, for services beside this one. Raises NotFound."""
        return self._container(id).process(exec_id)

    def _container(self, id: str) -> Container:
        if id not in self._containers:
            raise NotFound(f"task {id!r}: does not exist")
        return self._containers[id]

    def _making(self, request: task.CreateTaskRequest) -> Making:
        options = oci_pb2.Options()
        if request.options.type_url.endswith(_OPTIONS):
            options.ParseFromString(request.options.value)
        facts = _facts(request.bundle)
        tried = bool(facts.get("direct")) and not options.binary_name
        self._made += 1
        return Making(
            id=request.id,
            bundle=request.bundle,
            rootfs=tuple(request.rootfs),
            stdio=Stdio(request.stdin, request.stdout, request.stderr, request.terminal),
            runc=RuncSettings(
                binary=options.binary_name or self.settings["runc"],
                root=os.path.join(options.root or self.settings["runc_root"], self.settings["namespace"]),
                systemd_cgroup=options.systemd_cgroup,
                no_pivot_root=options.no_pivot_root,
                no_new_keyring=options.no_new_keyring,
                criu_work_path=options.criu_work_path,
                deadline=float(self.settings.get("runc_deadline") or DEADLINE),
            ),
            owner=(options.io_uid, options.io_gid),
            private_pids=bool(facts["private_pids"]),
            console=f"{self.settings['console']}{self._made}-",
            namespace=self.settings["namespace"],
            checkpoint=request.checkpoint,
            max_execs=int(self.settings.get("max_execs") or EXECS_MAX),
            direct_start=tried,
            direct_delete=tried and bool(facts.get("plain")) and not options.systemd_cgroup,
        )


def _waited(ended: Ended) -> task.WaitResponse:
    response = task.WaitResponse(exit_status=ended.status)
    if ended.at:
        stamp(response.exited_at, ended.at)
    return response


def _visible(process: Process) -> str:
    """A process that has ended counts as running until its start was told, so that states come in their order."""
    return RUNNING if process.status == STOPPED and not process.exited.done else process.status


def _facts(bundle: str) -> Mapping[str, Any]:
    """What the daemon found in the spec; parsing all of config.json here would cost every shim 200 KiB."""
    try:
        facts = files.content(f"{bundle}/facts.json")
        return {fact: b'"%s": true' % fact.encode() in facts for fact in ("private_pids", "plain", "direct")}
    except FileNotFoundError:
        pass
    try:
        with open(f"{bundle}/config.json") as file:
            return spec_facts(json.load(file))
    except (OSError, ValueError) as error:
        raise FailedPrecondition(f"bundle {bundle}: config.json cannot be read: {error}") from None


def _checkpoint_flags(options: oci_pb2.CheckpointOptions) -> list[str]:
    flags = {
        "--tcp-established": options.open_tcp,
        "--ext-unix-sk": options.external_unix_sockets,
        "--shell-job": options.terminal,
        "--file-locks": options.file_locks,
    }
    words = [flag for flag, wanted in flags.items() if wanted]
    for namespace in options.empty_namespaces:
        words += ["--empty-ns", namespace]
    if options.cgroups_mode:
        words += ["--manage-cgroups-mode", options.cgroups_mode]
    if options.parent_path:
        words += ["--parent-path", options.parent_path]
    return words
