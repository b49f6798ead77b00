"""Contract of the runtime: tasks, the running side of containers.

Terms. A *task* is a container's init process and all it started. An *exec* is a further process in it, under an
*exec id*; the empty exec id means init. A *shim* is the process that owns a task and outlives the daemon; a *bundle* is
the folder with the task's `config.json`.

Life cycle of a process: created → running (⇄ paused) → stopped → deleted. Events come in the order create, start,
exit, delete for a task, and exec-added, exec-started, exit for an exec.

Everything here is async: calls wait for shims. Mutating calls run to their end once begun.
"""

from collections.abc import Mapping, Sequence
from dataclasses import field
from enum import StrEnum
from typing import Protocol

from corten.values import dataclass

from .mounts import Mount
from .objects import AnyValue, RuntimeInfo


class Status(StrEnum):
    """The words are those `ctr task ls` shows, in lower case."""

    UNKNOWN = "unknown"
    CREATED = "created"
    RUNNING = "running"
    STOPPED = "stopped"
    PAUSED = "paused"
    PAUSING = "pausing"


CRI_LOG = "cri"
"""Scheme of a `stdout` and `stderr` that go to a log file in the kubelet's format, written beside the daemon:
`cri:///var/log/pods/…/0.log?max_line=16384` (the path percent-encoded; `max_line` in bytes, 0: 16 MiB). Both
streams may name one file. An empty path (`cri:`) keeps no log, but the process can be attached to."""
CRI_STDIN = "cri:stdin"
"""A `stdin` that is a pipe held open for those who attach; `cri:stdin?once` is closed when the first of them ends."""


@dataclass(frozen=True, slots=True)
class Stdio:
    """Paths or URIs of a process's streams; empty for none. With a terminal, stderr is unused.

    A URI is `fifo://`, `file://`, `binary://`, `binary-v2://` or one of `CRI_LOG` and `CRI_STDIN`; a stream that a
    shim serves is `stream://ID`, or `ttrpc+unix://PATH?streaming_id=ID`.
    """

    stdin: str = ""
    stdout: str = ""
    stderr: str = ""
    terminal: bool = False


@dataclass(frozen=True, slots=True)
class ProcessState:
    """A process now; `exit_status` and `exited_at` (ns since the epoch, 0: not yet) once it is stopped."""

    container_id: str
    exec_id: str
    pid: int
    status: Status
    stdio: Stdio
    exit_status: int = 0
    exited_at: int = 0


@dataclass(frozen=True, slots=True)
class Exit:
    """How a process ended; a signal n is status 128 + n. `exited_at` in ns since the epoch."""

    pid: int
    status: int
    exited_at: int


@dataclass(frozen=True, slots=True)
class CreateOptions:
    """What a task is made of. `spec` is the OCI runtime spec as JSON bytes, final: hooks have seen it.

    Tasks of a namespace with the same `sandbox_id` share a shim where the runtime can.
    """

    spec: bytes
    rootfs: Sequence[Mount]
    stdio: Stdio
    runtime: RuntimeInfo
    runtime_path: str = ""
    checkpoint: str = ""
    sandbox_id: str = ""
    task_address: str = ""
    """Where the shim of its sandbox takes tasks, as `SandboxInstance` has it; empty: the sandbox's controller knows."""
    task_version: int = 0
    streaming: bool = False
    """Whether all stdio, also of execs, goes by streams of the streaming API that the shim serves, as for a virtual
    machine into which no FIFO leads. `Stdio` stays what it is for others."""
    annotations: Mapping[str, str] = field(default_factory=dict)


class Task(Protocol):
    """One task. Any method raises NotFound once it is deleted, and for an exec id that does not exist."""

    @property
    def id(self) -> str: ...
    @property
    def namespace(self) -> str: ...
    @property
    def pid(self) -> int: ...
    async def start(self, exec_id: str = "") -> int:
        """Start what was created; returns the pid. FailedPrecondition if it was started before."""
        ...

    async def state(self, exec_id: str = "") -> ProcessState: ...
    async def kill(self, signal: int, exec_id: str = "", *, all: bool = False) -> None:
        """NotFound if the process ended already."""
        ...

    async def exec(self, exec_id: str, spec: AnyValue, stdio: Stdio) -> None:
        """Add a process (`spec` is an OCI process as JSON); `start` starts it. AlreadyExists, FailedPrecondition."""
        ...

    async def resize_pty(self, width: int, height: int, exec_id: str = "") -> None: ...
    async def close_stdin(self, exec_id: str = "") -> None: ...
    async def pause(self) -> None: ...
    async def resume(self) -> None: ...
    async def pids(self) -> Sequence[tuple[int, AnyValue | None]]:
        """All processes of the container by their pid on the host; execs carry runc's ProcessDetails."""
        ...

    async def update(self, resources: AnyValue, annotations: Mapping[str, str]) -> None: ...
    async def stats(self) -> AnyValue:
        """cgroup metrics: `io.containerd.cgroups.v1.Metrics` or `…v2.Metrics`."""
        ...

    async def wait(self, exec_id: str = "") -> Exit:
        """Until the process has ended; costs nothing while it waits; may be cancelled."""
        ...

    async def delete(self, exec_id: str = "") -> Exit:
        """Remove a process that is not running (FailedPrecondition otherwise); for init the task goes, shim and all."""
        ...

    async def checkpoint(self, path: str, options: AnyValue | None) -> None: ...
    async def attach(self, stdio: Stdio, exec_id: str = "", *, holds_up: bool = False) -> None:
        """Join FIFOs to the streams of a process that has `CRI_LOG` output; returns once they are joined.

        Whoever reads has opened the other ends of `stdout` and `stderr` before; that of `stdin` may be opened later.

        What is written after that goes to log and FIFOs alike; a reader that leaves, or is too slow for a second, is
        let go without harm to the process. With `holds_up` a slow one holds up the process, as whoever has started it
        in the foreground may. The FIFOs are closed when the process ends. Init may be joined before it is started.
        FailedPrecondition if the process has other streams, or has ended; works with every shim.
        """
        ...

    async def reopen_log(self) -> None:
        """Open the log file anew under its path (it was renamed); returns once nothing more goes to the old one.

        FailedPrecondition if the process has no log or has ended.
        """
        ...


class Runtime(Protocol):
    """All tasks (`io.containerd.runtime.v2.task`)."""

    async def create(self, namespace: str, id: str, options: CreateOptions) -> Task:
        """Make bundle and shim, and have the container created. On failure nothing is left.

        Raises AlreadyExists, InvalidArgument for a spec or runtime name, NotFound for a shim binary.
        """
        ...

    async def prepare(self, runtime: str) -> None:
        """A task of this runtime (name or path) will be created soon: make ready what can be. Raises nothing."""
        ...

    async def get(self, namespace: str, id: str) -> Task:
        """Raises NotFound."""
        ...

    async def list(self, namespace: str) -> Sequence[Task]: ...
    async def plugin_info(self, runtime_path: str, options: AnyValue | None) -> AnyValue:
        """`containerd.types.RuntimeInfo` of a runtime, OCI features included."""
        ...


@dataclass(frozen=True, slots=True)
class ShimEndpoint:
    """Where a shim listens: a socket (`unix:///…`), the version of the task service (2 or 3) and the protocol there.

    The protocol is `ttrpc` or `grpc`.
    """

    address: str
    version: int = 2
    protocol: str = "ttrpc"


class ShimStreams(Protocol):
    """The `CRI_LOG` streams of one task, for a shim that does not know that scheme: FIFOs are put in their place."""

    async def open(self, exec_id: str, stdio: Stdio) -> Stdio:
        """Before a process is created: what its shim is to be given. What is of another scheme stays as it is.

        Raises what opening the log does, InvalidArgument, Unavailable; nothing is left then.
        """
        ...

    def told(self, exec_id: str) -> Stdio | None:
        """What `open` was given for a process; None for one that has no such streams."""
        ...

    async def attach(self, exec_id: str, stdio: Stdio, *, holds_up: bool = False) -> None:
        """See `Task.attach`."""
        ...

    async def reopen_log(self) -> None:
        """See `Task.reopen_log`."""
        ...

    async def close_stdin(self, exec_id: str) -> None:
        """End the stdin of a process, if it is one of these."""
        ...

    async def close(self, exec_id: str) -> None:
        """After a process was deleted: returns when its last output has arrived. The empty exec id means all.

        Raises nothing; may be called for a process that has no such streams.
        """
        ...


class ShimProvider(Protocol):
    """Starts shims of some runtime names, and cleans up after them; one per way to start a shim."""

    def handles(self, runtime: str) -> bool:
        """Whether it starts shims for this runtime name or absolute path. Raises nothing."""
        ...

    async def prepare(self) -> None:
        """A shim will be started soon. What is made ready for it must not outlive the daemon. May raise Unavailable."""
        ...

    async def start(self, namespace: str, id: str, bundle: str, options: CreateOptions) -> ShimEndpoint:
        """Start the shim of a bundle, with the bundle as it finds itself again by. NotFound, Unavailable, Unknown."""
        ...

    async def remove(self, namespace: str, id: str, bundle: str) -> Exit:
        """After a shim that has died or does not answer: end it and its container, and take away mounts and cgroups.

        Returns how the container's init ended as far as is known: status 137, now. May be called again.
        """
        ...

    def adopt(self, bundle: str) -> None:
        """A shim that was started before, by an earlier daemon, is in use again. Called on the event loop.

        It is called for all bundles of this boot before any of their shims is asked, or given up with `remove`.
        """
        ...

    def retire(self, bundle: str) -> bool:
        """The task was deleted: whether its shim is to be asked to end, as no other task is in it.

        If so no further task is given to that shim. Called on the event loop.
        """
        ...

    def release(self, bundle: str) -> None:
        """The task was deleted and its shim asked to end: let go of what is held for it. Called on the event loop."""
        ...

    def streams(self, namespace: str, id: str, bundle: str) -> ShimStreams | None:
        """For a task whose shim does not know `CRI_LOG`; None if it does, and serves `corten.shim.v1.Streams`."""
        ...

    async def plugin_info(self, runtime: str, options: AnyValue | None) -> AnyValue:
        """`containerd.types.RuntimeInfo` of this runtime."""
        ...
