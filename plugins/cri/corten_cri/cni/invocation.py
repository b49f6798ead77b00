"""One run of a plugin: environment and standard input in, JSON out; killed with all it started when it takes too long.

Starting a process takes a thread of the pool for a millisecond; waiting for it takes none.
"""

import asyncio
import errno
import json
import logging
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import Any

from corten.errors import CortenError, DeadlineExceeded, FailedPrecondition, Unavailable, Unknown, mapped
from corten.pools import Pools
from corten.values import dataclass

assert sys.platform != "win32"

log = logging.getLogger(__name__)

POOL = "cri-cni"
"""The pool of threads that start plugins, and read and write the records of attachments."""
OUTPUT_MAX = 4 << 20
"""Bytes of a plugin's output that are kept."""
BUSY_RETRIES = 5
"""How often a plugin is tried that somebody is just writing (ETXTBSY)."""
BUSY_PAUSE = 0.3
LOCK_FD = 3
"""Where a plugin has the record of its attachment open: its lock tells a later daemon that the plugin still runs."""
_LATER = frozenset({11, 50, 51})
"""Error codes of the specification that mean: later."""


class PluginError(Unknown):
    """What a plugin itself answered; `text` is its message."""

    text = ""


class PluginLater(Unavailable):
    """A plugin's answer that says that it may work later."""

    text = ""


@dataclass(frozen=True, slots=True)
class Invocation:
    """What a plugin is run with."""

    command: str
    """ADD, CHECK, DEL, STATUS, GC or VERSION."""
    container: str = ""
    netns: str = ""
    interface: str = ""
    arguments: Sequence[tuple[str, str]] = ()
    lock: int = -1
    """A descriptor that the plugin and what it starts keep open."""

    def environment(self, path: Sequence[str]) -> dict[str, str]:
        """The daemon's own with the variables of the specification."""
        return {
            **os.environ,
            "CNI_COMMAND": self.command,
            "CNI_CONTAINERID": self.container,
            "CNI_NETNS": self.netns,
            "CNI_IFNAME": self.interface,
            "CNI_ARGS": ";".join(f"{key}={value}" for key, value in self.arguments),
            "CNI_PATH": os.pathsep.join(path),
        }


class Plugins:
    """The programs in some folders."""

    def __init__(self, pools: Pools, folders: Sequence[str], deadline: float) -> None:
        self._pools, self.folders, self._deadline = pools, tuple(folders), deadline

    async def run(
        self, type: str, invocation: Invocation, document: Mapping[str, Any], deadline: float | None = None
    ) -> Any:
        """Run the plugin `type` with `document` on its standard input; what it printed, None for nothing.

        `deadline`: seconds, in place of the one given for all.

        Raises FailedPrecondition if there is no such program, DeadlineExceeded, PluginError or PluginLater.
        """
        seconds = self._deadline if deadline is None else deadline
        process = await self._start(type, invocation, json.dumps(document).encode())
        try:
            status = await asyncio.wait_for(process.ended(), seconds)
        except TimeoutError:
            what = f"{type} {invocation.command} {invocation.container}".strip()
            raise DeadlineExceeded(f"CNI plugin {what}: killed, for it did not end within {seconds:g} s") from None
        finally:
            process.end()
        return _answer(type, status, bytes(process.output), bytes(process.errors))

    async def _start(self, type: str, invocation: Invocation, stdin: bytes) -> "_Process":
        for attempt in range(BUSY_RETRIES + 1):
            try:
                return await self._pools.run(POOL, self._spawn, type, invocation, stdin)
            except OSError as error:
                if error.errno != errno.ETXTBSY or attempt == BUSY_RETRIES:
                    raise FailedPrecondition(f"CNI plugin {type}: cannot be started: {error}") from error
                await asyncio.sleep(BUSY_PAUSE)
        raise AssertionError("unreachable")

    def _spawn(self, type: str, invocation: Invocation, stdin: bytes) -> "_Process":
        program = self._find(type)
        with ExitStack() as ours:
            source = _memory_file(stdin)
            ours.callback(os.close, source)
            pipes = []
            for _ in range(2):
                read, write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
                os.set_blocking(write, True)
                ours.callback(os.close, write)
                pipes.append((read, write))
            actions: list[tuple[int, int, int]] = [
                (os.POSIX_SPAWN_DUP2, source, 0),
                (os.POSIX_SPAWN_DUP2, pipes[0][1], 1),
                (os.POSIX_SPAWN_DUP2, pipes[1][1], 2),
            ]
            if invocation.lock >= 0:
                actions.append((os.POSIX_SPAWN_DUP2, invocation.lock, LOCK_FD))
            try:
                pid = os.posix_spawn(
                    program, [program], invocation.environment(self.folders), file_actions=actions, setpgroup=0,
                    setsigmask=[], setsigdef=[signal.SIGPIPE, signal.SIGINT, signal.SIGTERM],
                )  # fmt: skip
            except BaseException:
                for read, _ in pipes:
                    os.close(read)
                raise
        return _Process(pid, pipes[0][0], pipes[1][0])

    def _find(self, type: str) -> str:
        for folder in self.folders:
            program = os.path.join(folder, type)
            if os.path.isfile(program):
                return program
        raise FailedPrecondition(
            f'CNI plugin "{type}": not found in {", ".join(self.folders) or "any folder"} '
            "(install it there, or set bin_dirs to where it is)"
        )


class _Process:
    """A plugin that runs; owned by the event loop from `ended` on."""

    def __init__(self, pid: int, stdout: int, stderr: int) -> None:
        self._pid = pid
        self._pidfd = os.pidfd_open(pid)
        self._pipes = {stdout: bytearray(), stderr: bytearray()}
        self.output, self.errors = self._pipes[stdout], self._pipes[stderr]
        self._status: int | None = None

    async def ended(self) -> int:
        """Wait for its end, reading meanwhile; the exit status, -n for signal n.

        What it printed is in `output` and `errors` then. A child that it left behind may hold them open: nobody waits.
        """
        loop = asyncio.get_running_loop()
        over: asyncio.Future[None] = loop.create_future()
        watched = [self._pidfd, *self._pipes]
        loop.add_reader(self._pidfd, _settle, over)
        for fd in self._pipes:
            loop.add_reader(fd, self._read, loop, fd)
        try:
            await over
        finally:
            for fd in watched:
                loop.remove_reader(fd)
        for fd in self._pipes:
            while self._take(fd):
                pass
        return self._reap()

    def end(self) -> None:
        """Kill it, if it runs, with everything in its process group; let go of its descriptors."""
        if self._status is None:
            self._kill()
            self._reap()
        for fd in (self._pidfd, *self._pipes):
            os.close(fd)

    def _kill(self) -> None:
        try:
            os.killpg(self._pid, signal.SIGKILL)
        except ProcessLookupError:
            pass

    def _reap(self) -> int:
        """A process that was killed is gone at once, unless it is stuck in the kernel: that one is left behind."""
        try:
            pid, status = os.waitpid(self._pid, os.WNOHANG)
            if not pid:
                asyncio.get_running_loop().call_later(1.0, _reap_later, self._pid, 60)
        except ChildProcessError:
            status = 0
        self._status = os.waitstatus_to_exitcode(status)
        return self._status

    def _read(self, loop: asyncio.AbstractEventLoop, fd: int) -> None:
        if self._take(fd) == b"":
            loop.remove_reader(fd)

    def _take(self, fd: int) -> bytes | None:
        """Read once; empty at the end, None when nothing is there."""
        try:
            data = os.read(fd, 65536)
        except BlockingIOError:
            return None
        held = self._pipes[fd]
        held += data[: max(0, OUTPUT_MAX - len(held))]
        return data


def _settle(future: "asyncio.Future[None]") -> None:
    if not future.done():
        future.set_result(None)


def _reap_later(pid: int, tries: int) -> None:
    try:
        gone = os.waitpid(pid, os.WNOHANG)[0]
    except ChildProcessError:
        return
    if not gone and tries:
        asyncio.get_running_loop().call_later(1.0, _reap_later, pid, tries - 1)


def _memory_file(content: bytes) -> int:
    fd = os.memfd_create("cni-stdin", os.MFD_CLOEXEC)
    with mapped("hand the configuration to a CNI plugin"):
        os.write(fd, content)
        os.lseek(fd, 0, os.SEEK_SET)
    return fd


def _answer(type: str, status: int, output: bytes, errors: bytes) -> Any:
    if status == 0:
        if errors:
            log.info("CNI plugin %s says: %s", type, errors[-2000:].decode(errors="replace").strip())
        return _parsed(type, output)
    raise _failure(type, status, output, errors)


def _parsed(type: str, output: bytes) -> Any:
    if not output.strip():
        return None
    try:
        return json.loads(output)
    except ValueError as error:
        shown = output[:200].decode(errors="replace")
        raise Unknown(f"CNI plugin {type}: what it printed is not JSON ({error}): {shown!r}") from None


def _failure(type: str, status: int, output: bytes, errors: bytes) -> CortenError:
    """The plugin's own error, if it printed one; else how it ended, with what it wrote instead."""
    try:
        told = json.loads(output)
        text, code, details = str(told["msg"]), int(told.get("code", 0)), str(told.get("details") or "")
    except (ValueError, KeyError, TypeError):
        how = f"was killed by signal {-status}" if status < 0 else f"ended with status {status}"
        said = errors[-2000:].decode(errors="replace").strip() or output[:200].decode(errors="replace").strip()
        return PluginError(f"CNI plugin {type}: {how}: {said or 'it said nothing'}")
    kind = PluginLater if code in _LATER else PluginError
    error = kind(f"CNI plugin {type}: {text}: {details}" if details else f"CNI plugin {type}: {text}")
    error.text = text
    return error
