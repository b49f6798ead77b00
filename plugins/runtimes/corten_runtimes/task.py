"""One task as the daemon sees it: every operation is a call to its shim, its answer in the contract's words."""

import asyncio
import os
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TypeVar

from corten import identifiers
from corten.api.runtime.task.v2 import shim_pb2 as pb
from corten.api.shim.v1 import streams_pb2
from corten.api.types.task import task_pb2
from corten.contracts.objects import AnyValue
from corten.contracts.runtime import (
    CRI_STDIN,
    CreateOptions,
    Exit,
    ProcessState,
    ShimEndpoint,
    ShimProvider,
    Status,
    Stdio,
)
from corten.errors import (
    AlreadyExists,
    CortenError,
    DeadlineExceeded,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    Unavailable,
    Unimplemented,
    Unknown,
)
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.empty_pb2 import Empty
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from . import names
from .links import Link, Links

M = TypeVar("M", bound=Message)
LONG = 300.0
"""Seconds for calls for which a shim runs a command; it has a deadline of its own for that."""
SHORT = 10.0
"""Seconds for calls that ask a shim for what it knows."""
KILL = 5.0
"""Seconds for a shim to take a signal; one that does not take SIGKILL is ended itself."""
SIGNALS, SIGKILL = range(65), 9
CELLS = 0xFFFF
"""Columns or rows that a terminal may have: struct winsize has 16 bits for each."""
STREAMS = "corten.shim.v1.Streams"
_WRONG_STATE = re.compile(
    r"cannot \w+ (task in|in an?|an?) (created|running|stopped|deleted|paused)"
    r"|container (that has stopped|not (running|paused))"
)
_NO_PROCESS = re.compile("process (already finished|does not exist)")
_STATUS = {
    task_pb2.CREATED: Status.CREATED,
    task_pb2.RUNNING: Status.RUNNING,
    task_pb2.STOPPED: Status.STOPPED,
    task_pb2.PAUSED: Status.PAUSED,
    task_pb2.PAUSING: Status.PAUSING,
}


class ShimTask:
    """A task whose shim is connected (contract `Task`); `finish` is awaited once it is deleted."""

    def __init__(
        self,
        namespace: str,
        id: str,
        bundle: str,
        endpoint: ShimEndpoint,
        provider: ShimProvider,
        links: Links,
        finish: "Callable[[ShimTask], Awaitable[None]]",
        expect_move: Callable[[], None],
    ) -> None:
        """`expect_move` is called when a process will soon be moved into the task's cgroup."""
        self._namespace, self._id, self.bundle = namespace, id, bundle
        self._endpoint, self._finish, self._expect_move = endpoint, finish, expect_move
        self.provider = provider
        self._streams = provider.streams(namespace, id, bundle)
        self._links = links
        self._link: Link | None = None
        self._waits: dict[str, asyncio.Task[Exit]] = {}
        self._started: set[str] = set()
        """Execs of a shim of another make whose start was asked for."""
        self._adopted = False
        self.on_hang: Callable[[], None] | None = None
        """Called when the shim does not even answer a SIGKILL."""
        self.pid_ = 0
        self._ending = asyncio.Lock()
        """Held while it is deleted: of several who try one takes it away, and the others find it gone."""
        self.gone: asyncio.Future[Exit] = asyncio.get_running_loop().create_future()
        """Set when the task is no more, with how init ended."""

    def __repr__(self) -> str:
        return f"ShimTask({self._namespace}/{self._id}, pid={self.pid_}{', gone' if self.gone.done() else ''})"

    @property
    def id(self) -> str:
        return self._id

    @property
    def namespace(self) -> str:
        return self._namespace

    @property
    def pid(self) -> int:
        return self.pid_

    async def connect(self, on_close: Callable[[], None], timeout: float = SHORT) -> None:
        """Connect to the shim; `on_close` is called when that connection ends."""
        self._link = await self._links.open(self._endpoint, on_close, timeout)

    async def adopt(self, timeout: float) -> bool:
        """Ask the shim whether it has the task; False if it has none. Raises Unavailable, DeadlineExceeded."""
        request = pb.ConnectRequest(id=self._id)
        try:
            answer = await self._call("Connect", request, pb.ConnectResponse, timeout=timeout)
        except NotFound:
            return False
        self.pid_, self._adopted = answer.task_pid, True
        return answer.task_pid > 0 or await self._known()

    async def _known(self) -> bool:
        """Whether the shim has the task though nothing of it runs: one that is to be restored from a checkpoint."""
        if not os.path.exists(f"{self.bundle}/{names.CHECKPOINT}"):
            return False  # it is being created, or never was
        try:
            await self.state()
        except NotFound:
            return False
        return True

    async def create(self, options: CreateOptions) -> None:
        """Have the shim create the container."""
        self._expect_move()
        stdio = await self._open_streams("", options.stdio)
        request = pb.CreateTaskRequest(
            id=self._id, bundle=self.bundle, terminal=stdio.terminal, stdin=stdio.stdin, stdout=stdio.stdout,
            stderr=stdio.stderr, checkpoint=options.checkpoint,
        )  # fmt: skip
        for mount in options.rootfs:
            request.rootfs.add(type=mount.type, source=mount.source, target=mount.target, options=mount.options)
        if options.runtime.options is not None:
            _pack(request.options, options.runtime.options)
        self.pid_ = (await self._call("Create", request, pb.CreateTaskResponse, timeout=LONG)).pid

    async def start(self, exec_id: str = "") -> int:
        request = pb.StartRequest(id=self._id, exec_id=exec_id)
        try:
            if exec_id:
                await self._begin(exec_id)
            pid = (await self._call("Start", request, pb.StartResponse, timeout=LONG)).pid
        except NotFound:
            self._started.discard(exec_id)
            raise
        told = self._streams.told(exec_id) if self._streams is not None else None
        if told is not None and told.stdin == f"{CRI_STDIN}?once":
            # The shim holds the FIFO open too, and ends stdin only when both have closed it.
            await self._call(
                "CloseIO", pb.CloseIORequest(id=self._id, exec_id=exec_id, stdin=True), Empty, timeout=SHORT
            )
        return pid

    async def _begin(self, exec_id: str) -> None:
        """Refuse a second start, also after one that failed: of that containerd's shim of 2.4 panics.

        The own shim knows by itself what can be started, such as an exec that was refused while its task was paused.
        """
        if self._streams is not None:
            begun = exec_id in self._started
            self._started.add(exec_id)
            if begun or (self._adopted and (await self.state(exec_id)).status != Status.CREATED):
                raise FailedPrecondition(f"exec {exec_id!r} of task {self._id!r}: cannot start: it was started before")
        self._expect_move()

    async def state(self, exec_id: str = "") -> ProcessState:
        try:
            return await self._state(exec_id)
        except NotFound:
            if not exec_id:
                async with self._ending:
                    await self._forget()
            raise

    async def _state(self, exec_id: str) -> ProcessState:
        request = pb.StateRequest(id=self._id, exec_id=exec_id)
        answer = await self._call("State", request, pb.StateResponse, timeout=SHORT)
        told = self._streams.told(exec_id) if self._streams is not None else None
        return ProcessState(
            container_id=self._id,
            exec_id=exec_id,
            pid=answer.pid,
            status=_STATUS.get(answer.status, Status.UNKNOWN),
            stdio=told or Stdio(answer.stdin, answer.stdout, answer.stderr, answer.terminal),
            exit_status=answer.exit_status,
            exited_at=_nanoseconds(answer.exited_at),
        )

    async def kill(self, signal: int, exec_id: str = "", *, all: bool = False) -> None:
        if signal not in SIGNALS:
            raise InvalidArgument(f"task {self._id!r}: signal {signal}: there is no such signal")
        request = pb.KillRequest(id=self._id, exec_id=exec_id, signal=signal, all=all)
        try:
            await self._call("Kill", request, Empty, timeout=KILL)
        except DeadlineExceeded:
            if signal != SIGKILL or exec_id or self.on_hang is None:
                raise
            self.on_hang()
            raise DeadlineExceeded(
                f"task {self._id!r}: its shim does not answer: it is ended, and the container with it"
            ) from None

    async def exec(self, exec_id: str, spec: AnyValue, stdio: Stdio) -> None:
        identifiers.validate(exec_id, "exec id")
        self._expect_move()
        if self._streams is not None and self._streams.told(exec_id) is not None:
            raise AlreadyExists(f"exec {exec_id!r} of task {self._id!r}: already exists")
        stdio = await self._open_streams(exec_id, stdio)
        request = pb.ExecProcessRequest(
            id=self._id, exec_id=exec_id, terminal=stdio.terminal, stdin=stdio.stdin, stdout=stdio.stdout,
            stderr=stdio.stderr,
        )  # fmt: skip
        _pack(request.spec, spec)
        try:
            await self._call("Exec", request, Empty, timeout=LONG)  # some shims start all execs one after the other
        except BaseException:
            await asyncio.shield(self._close_streams(exec_id))
            raise

    async def resize_pty(self, width: int, height: int, exec_id: str = "") -> None:
        if max(width, height) > CELLS:
            raise InvalidArgument(f"task {self._id!r}: a terminal of {width}x{height}: it has at most {CELLS} each way")
        await self._call(
            "ResizePty",
            pb.ResizePtyRequest(id=self._id, exec_id=exec_id, width=width, height=height),
            Empty,
            timeout=SHORT,
        )

    async def close_stdin(self, exec_id: str = "") -> None:
        if self._streams is not None:
            await self._streams.close_stdin(exec_id)
        await self._call("CloseIO", pb.CloseIORequest(id=self._id, exec_id=exec_id, stdin=True), Empty, timeout=SHORT)

    async def pause(self) -> None:
        await self._call("Pause", pb.PauseRequest(id=self._id), Empty, timeout=LONG)

    async def resume(self) -> None:
        await self._call("Resume", pb.ResumeRequest(id=self._id), Empty, timeout=LONG)

    async def pids(self) -> Sequence[tuple[int, AnyValue | None]]:
        answer = await self._call("Pids", pb.PidsRequest(id=self._id), pb.PidsResponse, timeout=SHORT)
        return [(process.pid, _unpack(process.info)) for process in answer.processes]

    async def update(self, resources: AnyValue, annotations: Mapping[str, str]) -> None:
        request = pb.UpdateTaskRequest(id=self._id, annotations=annotations)
        _pack(request.resources, resources)
        await self._call("Update", request, Empty, timeout=LONG)

    async def stats(self) -> AnyValue:
        answer = await self._call("Stats", pb.StatsRequest(id=self._id), pb.StatsResponse, timeout=SHORT)
        return AnyValue(answer.stats.type_url, answer.stats.value)

    async def wait(self, exec_id: str = "") -> Exit:
        """All who wait for one process share one call to the shim."""
        waiting = self._waits.get(exec_id)
        if waiting is None or (waiting.done() and (waiting.cancelled() or waiting.exception() is not None)):
            waiting = self._waits[exec_id] = asyncio.create_task(self._wait(exec_id), name=f"wait {self._id}/{exec_id}")
            waiting.add_done_callback(lambda done: done.cancelled() or done.exception())
        return await asyncio.shield(waiting)

    async def delete(self, exec_id: str = "") -> Exit:
        if exec_id:
            ended = await self._delete(exec_id)
            self._waits.pop(exec_id, None)
            self._started.discard(exec_id)
            return ended
        async with self._ending:
            return await self._delete_init()

    async def _delete_init(self) -> Exit:
        if self._endpoint.version < 3 and (await self._state("")).status == Status.RUNNING:
            raise FailedPrecondition(f"task {self._id!r}: cannot delete: it is running")
        try:
            ended = await self._delete("")
        except NotFound:
            await self._forget()
            raise
        self.over(ended)
        await self._finish(self)
        return ended

    async def _delete(self, exec_id: str) -> Exit:
        request = pb.DeleteRequest(id=self._id, exec_id=exec_id)
        answer = await self._call("Delete", request, pb.DeleteResponse, timeout=LONG)
        await self._close_streams(exec_id)
        return Exit(answer.pid, answer.exit_status, _nanoseconds(answer.exited_at))

    async def checkpoint(self, path: str, options: AnyValue | None) -> None:
        request = pb.CheckpointTaskRequest(id=self._id, path=path)
        if options is not None:
            _pack(request.options, options)
        await self._call("Checkpoint", request, Empty)

    async def attach(self, stdio: Stdio, exec_id: str = "", *, holds_up: bool = False) -> None:
        if self._streams is not None:
            await self._require_running(exec_id)
            await self._streams.attach(exec_id, stdio, holds_up=holds_up)
            return
        request = streams_pb2.AttachRequest(
            namespace=self._namespace, id=self._id, exec_id=exec_id, stdin=stdio.stdin, stdout=stdio.stdout,
            stderr=stdio.stderr, holds_up=holds_up,
        )  # fmt: skip
        await self._call("Attach", request, Empty, timeout=SHORT, service=STREAMS)

    async def reopen_log(self) -> None:
        if self._streams is not None:
            await self._require_running("")
            await self._streams.reopen_log()
            return
        request = streams_pb2.ReopenLogRequest(namespace=self._namespace, id=self._id)
        await self._call("ReopenLog", request, Empty, timeout=SHORT, service=STREAMS)

    async def _forget(self) -> None:
        """The shim has it no more: an earlier daemon had asked for its delete. Raises nothing."""
        if not self.gone.done() and self.on_hang is not None:  # else it is being adopted, and given up with its shim
            self.over(self.known_exit() or Exit(self.pid_, 128 + SIGKILL, 0))
            await self._finish(self)

    def over(self, ended: Exit) -> None:
        """The task is no more: whoever waits learns how it ended."""
        if not self.gone.done():
            self.gone.set_result(ended)

    async def shut_down(self, timeout: float, until_end: float = 0.0) -> None:
        """Ask the shim to end, wait up to `until_end` seconds until it has, and let go of it. Raises nothing."""
        if self._link is not None:
            request = pb.ShutdownRequest(id=self._id)
            try:
                await self._link.client.call(self._service, "Shutdown", request, Empty, timeout=timeout)
                if until_end:
                    await self._link.client.wait_closed(until_end)
            except Exception:
                pass
            await self.disconnect()

    async def disconnect(self) -> None:
        """Let go of the connection; the shim goes on."""
        if self._link is not None:
            await self._link.release()

    def known_exit(self) -> Exit | None:
        """How init ended, if somebody waited for it and it has."""
        waiting = self._waits.get("")
        if waiting is None or not waiting.done() or waiting.cancelled() or waiting.exception():
            return None
        return waiting.result()

    @property
    def _service(self) -> str:
        return f"containerd.task.v{self._endpoint.version}.Task"

    async def _open_streams(self, exec_id: str, stdio: Stdio) -> Stdio:
        return stdio if self._streams is None else await self._streams.open(exec_id, stdio)

    async def _close_streams(self, exec_id: str) -> None:
        if self._streams is not None:
            await self._streams.close(exec_id)

    async def _require_running(self, exec_id: str) -> None:
        state = await self.state(exec_id)
        if state.status == Status.STOPPED or (exec_id and state.status == Status.CREATED):
            raise FailedPrecondition(f"task {self._id!r}: cannot join the streams of a process that is {state.status}")

    async def _wait(self, exec_id: str) -> Exit:
        request = pb.WaitRequest(id=self._id, exec_id=exec_id)
        try:
            answer = await self._call("Wait", request, pb.WaitResponse)
        except (Unavailable, NotFound, Unknown):
            # Deleted, or the shim lost, between the exit and the answer: the end of the task tells.
            if exec_id and self._link is not None and not self._link.client.closed:
                raise
            return await asyncio.shield(self.gone)
        return Exit(self.pid_ if not exec_id else 0, answer.exit_status, _nanoseconds(answer.exited_at))

    async def _call(
        self, method: str, request: Message, answer: type[M], *, timeout: float | None = None, service: str = ""
    ) -> M:
        if self.gone.done():
            raise NotFound(f"task {self._id!r}: does not exist")
        if self._link is None:
            raise Unavailable(f"task {self._id!r}: its shim is not connected")
        try:
            return await self._link.client.call(service or self._service, method, request, answer, timeout=timeout)
        except Unknown as error:
            raise clarified(error) from None
        except Unavailable:
            if not self.gone.done():
                raise
            raise NotFound(f"task {self._id!r}: does not exist any more") from None
        except Unimplemented as error:
            if not service:
                raise
            raise FailedPrecondition(f"task {self._id!r}: its shim has no log and cannot be attached to") from error


def clarified(error: Unknown) -> CortenError:
    """Older shims answer Unknown for what has a class: recognised by their words."""
    if _WRONG_STATE.search(error.message):
        return FailedPrecondition(error.message)
    return NotFound(error.message) if _NO_PROCESS.search(error.message) else error


def _pack(message: AnyMessage, value: AnyValue) -> None:
    message.type_url, message.value = value.type_url, value.value


def _unpack(message: AnyMessage) -> AnyValue | None:
    return AnyValue(message.type_url, message.value) if message.type_url else None


def _nanoseconds(timestamp: Timestamp) -> int:
    return timestamp.ToNanoseconds() if timestamp.seconds > 0 else 0
