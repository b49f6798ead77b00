"""Conformance of a `Runtime` with real processes: streams, terminals, logs, attaching, resources, errors. Linux only.

    for check in SUITE:
        await check(runtime, make, folder)

`make(args)` gives options for a container with busybox's programs on its PATH and a pid namespace of its own; `folder`
is an empty one for FIFOs and logs. Written without a test framework, as `corten.testing.runtime` is.
"""

import asyncio
import json
import os
import re
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from corten.api.cgroups.v1 import metrics_pb2 as v1
from corten.api.cgroups.v2 import metrics_pb2 as v2
from corten.api.types.runc.options import oci_pb2
from corten.contracts.objects import AnyValue
from corten.contracts.runtime import CreateOptions, Runtime, Status, Stdio, Task
from corten.errors import AlreadyExists, CortenError, FailedPrecondition, NotFound

assert sys.platform != "win32"

MakeOptions = Callable[[Sequence[str]], CreateOptions]
NAMESPACE = "conformance"
_PROCESS = "types.containerd.io/opencontainers/runtime-spec/1/Process"
_RESOURCES = "types.containerd.io/opencontainers/runtime-spec/1/LinuxResources"
_SLEEP = ("sleep", "60")
_SECONDS = 20.0
_LIMIT = 64 << 20
_LINE = re.compile(rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{1,9}(Z|[+-]\d\d:\d\d) (stdout|stderr) ([PF]) (.*)")


async def check_exec_options(runtime: Runtime, make: MakeOptions, folder: Path) -> None:
    """User, environment and working directory of an exec, and its outputs apart from each other."""
    async with _running(runtime, make, "options") as task:
        out, err = _Fifo(folder / "out"), _Fifo(folder / "err")
        script = "echo $WORD; pwd; id -u; id -g; echo oops >&2; exit 9"
        process = _process(
            make, ["sh", "-c", script], env=["PATH=/bin", "WORD=of the exec"], cwd="/tmp", user={"uid": 12, "gid": 34}
        )
        await task.exec("e", process, Stdio("", out.path, err.path))
        await task.start("e")
        assert (await task.wait("e")).status == 9
        assert await out.end() == b"of the exec\n/tmp\n12\n34\n"
        assert await err.end() == b"oops\n"
        assert (await task.delete("e")).status == 9


async def check_terminal(runtime: Runtime, make: MakeOptions, folder: Path) -> None:
    """A terminal, its size, and input to it."""
    async with _running(runtime, make, "terminal") as task:
        out, stdin = _Fifo(folder / "out"), _Writer(folder / "in")
        script = "[ -t 0 ] && read x; stty size; read y; echo got $y"
        await task.exec("t", _process(make, ["sh", "-c", script], terminal=True), Stdio(stdin.path, out.path, "", True))
        await task.start("t")
        await task.resize_pty(132, 43, "t")
        stdin.write(b"go\n")
        await out.until(b"43 132\r\n")
        stdin.write(b"it\n")
        assert (await task.wait("t")).status == 0
        assert (await out.end()).endswith(b"got it\r\n")
        stdin.close()
        await task.delete("t")
        await _refused(NotFound, task.resize_pty(1, 1, "none"))


async def check_stdin(runtime: Runtime, make: MakeOptions, folder: Path) -> None:
    """What is written arrives, and its end too, once stdin is closed."""
    async with _running(runtime, make, "stdin") as task:
        out, err, stdin = _Fifo(folder / "out"), _Fifo(folder / "err"), _Writer(folder / "in")
        await task.exec("c", _process(make, ["cat"]), Stdio(stdin.path, out.path, err.path))
        await task.start("c")
        stdin.write(b"words")
        await out.until(b"words")
        await task.close_stdin("c")
        stdin.close()
        assert (await task.wait("c")).status == 0
        assert (await out.end(), await err.end()) == (b"words", b"")
        await task.delete("c")


async def check_pids(runtime: Runtime, make: MakeOptions, folder: Path) -> None:
    """All processes, execs by their id; the signal of a kill is the exit status."""
    async with _running(runtime, make, "pids") as task:
        await task.exec("e", _process(make, ["sh", "-c", "trap 'exit 5' USR1; while :; do sleep 0.05; done"]), Stdio())
        pid = await task.start("e")
        found = dict(await task.pids())
        assert {task.pid, pid} <= found.keys()
        details = found[pid]
        if details is not None:
            assert oci_pb2.ProcessDetails.FromString(details.value).exec_id == "e"
        await asyncio.sleep(0.3)
        await task.kill(signal.SIGUSR1, "e")
        assert (await task.wait("e")).status == 5
        await task.delete("e")
        assert pid not in dict(await task.pids())


async def check_resources(runtime: Runtime, make: MakeOptions, folder: Path) -> None:
    """Statistics in one of the two known forms, and a limit that is set while it runs."""
    async with _running(runtime, make, "resources") as task:
        assert _pids_in_use(await task.stats()) >= 1
        resources = {"memory": {"limit": _LIMIT}}
        await task.update(AnyValue(_RESOURCES, json.dumps(resources).encode()), {})
        assert _memory_limit(await task.stats()) == _LIMIT
        await task.pause()
        await task.stats()
        await task.resume()


async def check_errors(runtime: Runtime, make: MakeOptions, folder: Path) -> None:
    """What is refused, by the class that clients look at."""
    task = await runtime.create(NAMESPACE, "errors", make(_SLEEP))
    await _refused(FailedPrecondition, task.resume())
    await task.start()
    await task.exec("bad", _process(make, ["/no/such/program"]), Stdio())
    await _refused(CortenError, task.start("bad"))
    await _refused(FailedPrecondition, task.start("bad"))
    await task.delete("bad")
    for call in (task.wait("no"), task.state("no"), task.kill(9, "no"), task.delete("no"), task.start("no")):
        await _refused(NotFound, call)
    await task.exec("one", _process(make, _SLEEP), Stdio())
    await _refused(AlreadyExists, task.exec("one", _process(make, _SLEEP), Stdio()))
    await task.delete("one")
    await task.kill(9)
    await task.wait()
    for call in (task.pause(), task.exec("late", _process(make, _SLEEP), Stdio())):
        await _refused(FailedPrecondition, call)
    await task.delete()
    await _refused(CortenError, runtime.create(NAMESPACE, "errors", make(["/no/such/program"])))
    await _refused(NotFound, runtime.get(NAMESPACE, "errors"))


async def check_log(runtime: Runtime, make: MakeOptions, folder: Path) -> None:
    """Both outputs in one log of the kubelet's format, which goes on under its name when that was taken away."""
    log, rotated = folder / "0.log", folder / "0.log.1"
    script = "echo out; echo err >&2; head -c 30 /dev/zero; echo; while [ ! -e /go ]; do sleep 0.02; done"
    script += "; printf tail"
    options = replace(
        make(["sh", "-c", script]), stdio=Stdio("", f"cri://{log}?max_line=20", f"cri://{log}?max_line=20")
    )
    task = await runtime.create(NAMESPACE, "log", options)
    await task.start()
    await _until(lambda: log.read_bytes().count(b"\n") >= 4)
    log.rename(rotated)
    await task.reopen_log()
    await task.exec("go", _process(make, ["sh", "-c", "> /go"]), Stdio())
    await task.start("go")
    assert (await task.wait()).status == 0
    await _refused(FailedPrecondition, task.reopen_log())
    await task.delete()
    x = bytes(30)
    expected = [
        (b"stderr", b"F", b"err"),
        (b"stdout", b"F", b"out"),
        (b"stdout", b"F", x[20:]),
        (b"stdout", b"P", x[:20]),
    ]
    assert sorted(_lines(rotated)) == sorted(expected)
    assert _lines(log) == [(b"stdout", b"P", b"tail")]


async def check_attach(runtime: Runtime, make: MakeOptions, folder: Path) -> None:
    """Clients join and leave a process that is logged; stdin ends with the first of them."""
    stdio = Stdio("cri:stdin?once", "cri:", "cri:")
    task = await runtime.create(NAMESPACE, "attach", replace(make(["cat"]), stdio=stdio))
    await task.start()
    assert (await task.state()).stdio == stdio
    out, stays, stdin = _Fifo(folder / "out"), _Fifo(folder / "stays"), _Writer(folder / "in")
    await task.attach(Stdio(stdin.path, out.path, ""))
    await task.attach(Stdio("", stays.path, ""))
    stdin.write(b"one\n")
    await out.until(b"one\n")
    out.close()
    stdin.write(b"two\n")
    await stays.until(b"one\ntwo\n")
    stdin.close()
    assert (await task.wait()).status == 0
    assert await stays.end() == b"one\ntwo\n"
    await _refused(FailedPrecondition, task.attach(Stdio("", stays.path, "")))
    await task.delete()


SUITE: Sequence[Callable[[Runtime, MakeOptions, Path], Awaitable[None]]] = (
    check_exec_options,
    check_terminal,
    check_stdin,
    check_pids,
    check_resources,
    check_errors,
    check_log,
    check_attach,
)


class _running:  # noqa: N801  (read as a function)
    """A container that sleeps, killed and deleted in the end."""

    def __init__(self, runtime: Runtime, make: MakeOptions, id: str) -> None:
        self._runtime, self._make, self._id = runtime, make, id

    async def __aenter__(self) -> Task:
        self._task = await self._runtime.create(NAMESPACE, self._id, self._make(_SLEEP))
        await self._task.start()
        assert (await self._task.state()).status == Status.RUNNING
        return self._task

    async def __aexit__(self, *exc: object) -> None:
        await self._task.kill(9)
        await self._task.wait()
        await self._task.delete()


class _Fifo:
    """A FIFO that is read, opened before anybody writes to it."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)
        os.mkfifo(path)
        self._fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        self._data = b""

    async def until(self, data: bytes) -> None:
        """Until this was read."""
        await _until(lambda: data in self._data or (self._read() and data in self._data))

    async def end(self) -> bytes:
        """All of it; to be called when the process has ended."""
        await _until(lambda: not self._read())
        self.close()
        return self._data

    def close(self) -> None:
        """Leave."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _read(self) -> bool:
        """Read what is there; False at the end."""
        try:
            piece = os.read(self._fd, 1 << 16)
        except BlockingIOError:
            return True
        self._data += piece
        return bool(piece)


class _Writer:
    """A FIFO that is written to."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)
        os.mkfifo(path)
        self._fd = os.open(path, os.O_RDWR | os.O_NONBLOCK)

    def write(self, data: bytes) -> None:
        """Write a few bytes."""
        os.write(self._fd, data)

    def close(self) -> None:
        """Leave."""
        os.close(self._fd)


async def _until(check: Callable[[], bool]) -> None:
    """Wait until it is true, for so many seconds."""
    deadline = time.monotonic() + _SECONDS
    while not check():
        assert time.monotonic() < deadline, f"not so within {_SECONDS:.0f} s"
        await asyncio.sleep(0.005)


def _process(make: MakeOptions, args: Sequence[str], **changes: Any) -> AnyValue:
    document = json.loads(make(args).spec)["process"] | changes
    return AnyValue(_PROCESS, json.dumps(document).encode())


def _pids_in_use(stats: AnyValue) -> int:
    if stats.type_url.endswith("v1.Metrics"):
        return v1.Metrics.FromString(stats.value).pids.current
    assert stats.type_url.endswith("v2.Metrics"), stats.type_url
    return v2.Metrics.FromString(stats.value).pids.current


def _memory_limit(stats: AnyValue) -> int:
    if stats.type_url.endswith("v1.Metrics"):
        return v1.Metrics.FromString(stats.value).memory.usage.limit
    return v2.Metrics.FromString(stats.value).memory.usage_limit


def _lines(path: Path) -> list[tuple[bytes, bytes, bytes]]:
    """Stream, tag and words of each line of a log."""
    found = [_LINE.fullmatch(line) for line in path.read_bytes().split(b"\n")[:-1]]
    assert all(found), path.read_bytes()
    return [(match[2], match[3], match[4]) for match in found if match]


async def _refused(kind: type[CortenError], call: Awaitable[object]) -> None:
    try:
        await call
    except kind:
        return
    raise AssertionError(f"{kind.__name__} expected")
