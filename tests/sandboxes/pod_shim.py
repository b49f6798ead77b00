"""A small real shim with the sandbox API, as a third party would write one: `start`, `delete`, and a ttrpc server.

A sandbox is a process that sleeps; tasks in it are processes of this host. Installed for a test by `install`.
"""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from corten.api.runtime.sandbox.v1 import sandbox_pb2 as pb
from corten.api.runtime.task.v3 import shim_pb2 as task
from corten.api.types.task import task_pb2
from corten.errors import AlreadyExists, FailedPrecondition, NotFound
from corten.supervisor import Supervisor
from corten.wire.catalogue import Catalogue
from corten.wire.grpc.server import GrpcServer
from corten.wire.grpc.unix_listener import UnixListener
from corten.wire.limits import Limits
from corten.wire.service import CallContext, Service, cancellable
from corten.wire.ttrpc.server import TtrpcServer
from corten.wire.unix import Owner
from google.protobuf.empty_pb2 import Empty

PID, SOCKET = "pod.pid", "pod.sock"


class Process:
    """Something that runs: `started` and `ended` in ns since the epoch."""

    def __init__(self, *args: str) -> None:
        self.args, self.status = args, 0
        self.process: asyncio.subprocess.Process | None = None
        self.started = self.ended = 0
        self.over = asyncio.Event()

    @property
    def pid(self) -> int:
        return self.process.pid if self.process else 0

    async def start(self) -> None:
        self.process = await asyncio.create_subprocess_exec(*self.args, stdin=subprocess.DEVNULL)
        self.started = time.time_ns()
        self.watch = asyncio.create_task(self._wait())

    async def _wait(self) -> None:
        assert self.process is not None
        code = await self.process.wait()
        self.status = 128 - code if code < 0 else code
        self.ended = time.time_ns()
        self.over.set()

    def kill(self, number: int) -> None:
        if self.process is None or self.over.is_set():
            raise NotFound("process already finished")
        self.process.send_signal(number)


class Pod:
    """containerd.runtime.sandbox.v1.Sandbox."""

    def __init__(self, done: asyncio.Event) -> None:
        self.done, self.created_at = done, 0
        self.process = Process("sleep", "1000")
        self.request = pb.CreateSandboxRequest()

    async def create_sandbox(self, request: pb.CreateSandboxRequest, call: CallContext) -> pb.CreateSandboxResponse:
        if self.created_at:
            raise AlreadyExists("sandbox: it was created before")
        if request.annotations.get("fail") == "create":
            raise FailedPrecondition("sandbox: told to fail")
        self.request, self.created_at = request, time.time_ns()
        return pb.CreateSandboxResponse()

    async def start_sandbox(self, request: pb.StartSandboxRequest, call: CallContext) -> pb.StartSandboxResponse:
        if self.request.annotations.get("fail") == "start":
            raise FailedPrecondition("sandbox: told to fail")
        await self.process.start()
        answer = pb.StartSandboxResponse(pid=self.process.pid)
        answer.created_at.FromNanoseconds(self.process.started)
        return answer

    async def platform(self, request: pb.PlatformRequest, call: CallContext) -> pb.PlatformResponse:
        answer = pb.PlatformResponse()
        answer.platform.os, answer.platform.architecture = "linux", "riscv64"
        return answer

    async def ping_sandbox(self, request: pb.PingRequest, call: CallContext) -> pb.PingResponse:
        return pb.PingResponse()

    async def stop_sandbox(self, request: pb.StopSandboxRequest, call: CallContext) -> pb.StopSandboxResponse:
        self.process.kill(signal.SIGTERM)
        await self.process.over.wait()
        return pb.StopSandboxResponse()

    @cancellable
    async def wait_sandbox(self, request: pb.WaitSandboxRequest, call: CallContext) -> pb.WaitSandboxResponse:
        await self.process.over.wait()
        answer = pb.WaitSandboxResponse(exit_status=self.process.status)
        answer.exited_at.FromNanoseconds(self.process.ended)
        return answer

    async def sandbox_status(self, request: pb.SandboxStatusRequest, call: CallContext) -> pb.SandboxStatusResponse:
        ready = self.process.started and not self.process.ended
        answer = pb.SandboxStatusResponse(
            sandbox_id=request.sandbox_id,
            pid=self.process.pid,
            state="SANDBOX_READY" if ready else "SANDBOX_NOTREADY",
            info={"netns": self.request.netns_path} if request.verbose else {},
        )
        answer.created_at.FromNanoseconds(self.created_at)
        return answer

    async def shutdown_sandbox(
        self, request: pb.ShutdownSandboxRequest, call: CallContext
    ) -> pb.ShutdownSandboxResponse:
        with contextlib.suppress(NotFound):
            self.process.kill(signal.SIGKILL)
        asyncio.get_running_loop().call_later(0.05, self.done.set)
        return pb.ShutdownSandboxResponse()

    async def sandbox_metrics(self, request: pb.SandboxMetricsRequest, call: CallContext) -> pb.SandboxMetricsResponse:
        answer = pb.SandboxMetricsResponse()
        answer.metrics.id = request.sandbox_id
        answer.metrics.data.type_url, answer.metrics.data.value = "example.com/pod", b"42"
        return answer


class Tasks:
    """containerd.task.v3.Task, for processes that are the container's arguments run on the host."""

    def __init__(self) -> None:
        self.tasks: dict[str, Process] = {}

    async def create(self, request: task.CreateTaskRequest, call: CallContext) -> task.CreateTaskResponse:
        spec = json.loads((Path(request.bundle) / "config.json").read_text())
        self.tasks[request.id] = made = Process(*spec["process"]["args"])
        await made.start()
        made.process.send_signal(signal.SIGSTOP)  # type: ignore[union-attr]
        return task.CreateTaskResponse(pid=made.pid)

    async def start(self, request: task.StartRequest, call: CallContext) -> task.StartResponse:
        found = self._get(request)
        found.kill(signal.SIGCONT)
        return task.StartResponse(pid=found.pid)

    async def connect(self, request: task.ConnectRequest, call: CallContext) -> task.ConnectResponse:
        return task.ConnectResponse(shim_pid=os.getpid(), task_pid=self._get(request).pid, version="pod")

    async def state(self, request: task.StateRequest, call: CallContext) -> task.StateResponse:
        found = self._get(request)
        status = task_pb2.STOPPED if found.ended else task_pb2.RUNNING
        return task.StateResponse(id=request.id, pid=found.pid, status=status, exit_status=found.status)

    async def kill(self, request: task.KillRequest, call: CallContext) -> Empty:
        self._get(request).kill(request.signal)
        return Empty()

    @cancellable
    async def wait(self, request: task.WaitRequest, call: CallContext) -> task.WaitResponse:
        found = self._get(request)
        await found.over.wait()
        answer = task.WaitResponse(exit_status=found.status)
        answer.exited_at.FromNanoseconds(found.ended)
        return answer

    async def delete(self, request: task.DeleteRequest, call: CallContext) -> task.DeleteResponse:
        found = self._get(request)
        if not found.ended:
            raise FailedPrecondition("cannot delete a running process")
        del self.tasks[request.id]
        answer = task.DeleteResponse(pid=found.pid, exit_status=found.status)
        answer.exited_at.FromNanoseconds(found.ended)
        return answer

    async def shutdown(self, request: task.ShutdownRequest, call: CallContext) -> Empty:
        raise FailedPrecondition("a task must not end the sandbox")

    def _get(self, request: Any) -> Process:
        if request.id not in self.tasks:
            raise NotFound(f"task {request.id}: not in this sandbox")
        return self.tasks[request.id]


class Provider:
    def __init__(self, *services: Service) -> None:
        self.services = services


async def serve(socket: str) -> None:
    done = asyncio.Event()
    pods = Service(pb.DESCRIPTOR.services_by_name["Sandbox"], Pod(done))
    tasks = Service(task.DESCRIPTOR.services_by_name["Task"], Tasks())
    catalogue = Catalogue({"pod": Provider(pods, tasks)})
    server: TtrpcServer | GrpcServer
    if protocol() == "grpc":
        listener = UnixListener(socket, Owner())
        server = GrpcServer(listener, catalogue, Supervisor(), Limits())
    else:
        server = TtrpcServer(f"{socket}.in" if protocol() == "hvsock" else socket, catalogue, Supervisor())
    await server.start()
    if protocol() == "hvsock":
        await asyncio.start_unix_server(hybrid, socket)
    await done.wait()
    await server.close()


async def hybrid(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """What a hypervisor does for its machine's port: a word each way, then the bytes of who listens there."""
    said = await reader.readline()
    if said != b"CONNECT 1024\n":
        writer.write(b"no such port\n")
        writer.close()
        return
    inner, outer = await asyncio.open_unix_connection(str(Path.cwd() / f"{SOCKET}.in"))
    writer.write(b"OK 1073741824\n")
    await asyncio.gather(carry(reader, outer), carry(inner, writer))


async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()


def protocol() -> str:
    return os.environ.get("POD_PROTOCOL", "ttrpc")


def start() -> None:
    """In the bundle: start the server, and print where it listens."""
    socket = str(Path.cwd() / SOCKET)
    with open("pod.log", "ab") as log:
        child = subprocess.Popen(
            [sys.executable, __file__, "serve", socket],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip
    Path(PID).write_text(str(child.pid))
    end = time.monotonic() + 20
    while not os.path.exists(socket):
        if child.poll() is not None or time.monotonic() > end:
            raise SystemExit(f"the server does not start: {Path('pod.log').read_text()}")
        time.sleep(0.02)
    address = f"hvsock://{socket}:1024" if protocol() == "hvsock" else f"unix://{socket}"
    print(json.dumps({"version": 3, "address": address, "protocol": "grpc" if protocol() == "grpc" else "ttrpc"}))


def delete() -> None:
    """After a crash: whatever runs is killed."""
    with contextlib.suppress(OSError, ValueError):
        os.killpg(int(Path(PID).read_text()), signal.SIGKILL)
    answer = task.DeleteResponse(exit_status=137)
    sys.stdout.buffer.write(answer.SerializeToString())


def install(folder: Path, protocol: str = "ttrpc") -> str:
    """An executable for the runtime's name: its absolute path. `protocol` is ttrpc, grpc, or hvsock: ttrpc by that."""
    path = folder / "containerd-shim-pod-v1"
    path.write_text(f'#!/bin/sh\nPOD_PROTOCOL={protocol} exec {sys.executable} {__file__} "$@"\n')
    path.chmod(0o755)
    return str(path)


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        asyncio.run(serve(sys.argv[2]))
    elif sys.argv[-1] == "start":
        start()
    elif sys.argv[-1] == "delete":
        delete()
