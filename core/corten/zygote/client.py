"""The daemon's side of the zygote: starts it, asks it for processes, and starts it again when it has died."""

import os
import signal
import socket
import sys
import time
from collections.abc import Mapping, Sequence
from threading import Lock
from typing import Any

from corten import descriptors
from corten.errors import DeadlineExceeded, Internal, Unavailable, Unimplemented, from_code

from . import frames

TITLE_MAX = 1024
"""Bytes that children have for their command line."""
ROOM = "." * TITLE_MAX
REPLY_DEADLINE = 60.0
"""Seconds that the zygote may take to answer: it imports its modules before it answers the first request."""


class ZygoteWorker:
    """A job under way in a forked process (contract `Worker`)."""

    def __init__(self, zygote: "Zygote", pid: int, pidfd: int, private: socket.socket) -> None:
        self._zygote, self._pid, self._pidfd, self._private = zygote, pid, pidfd, private
        self._lock = Lock()
        self._outcome: tuple[int, bytes] | None = None

    def __repr__(self) -> str:
        return f"ZygoteWorker(pid={self._pid}, {'ended' if self._outcome else 'running'})"

    def __del__(self) -> None:
        self._private.close()
        self._close_pidfd()

    @property
    def pid(self) -> int:
        return self._pid

    def give(self, payload: bytes) -> None:
        """What it waits for before it begins."""
        try:
            frames.send_frame(self._private, 0, payload)
        except OSError:
            pass  # it has died; `result` tells how

    def ended(self) -> bool:
        """Whether the process is no more, of one that has nothing to say yet."""
        self._private.setblocking(False)
        try:
            return not self._private.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return False
        except OSError:
            return True
        finally:
            self._private.setblocking(True)

    def result(self, timeout: float | None = None) -> bytes:
        with self._lock:
            if self._outcome is None:
                self._outcome = self._receive(timeout)
                self._private.close()
        code, body = self._outcome
        if code:
            raise from_code(code, body.decode(errors="replace"))
        return body

    def kill(self) -> None:
        if sys.platform != "win32" and self._pidfd >= 0:
            try:
                signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)
            except ProcessLookupError:
                pass

    def _receive(self, timeout: float | None) -> tuple[int, bytes]:
        self._private.settimeout(timeout)
        try:
            frame = frames.receive_frame(self._private)
        except TimeoutError:
            raise DeadlineExceeded(f"worker process {self._pid}: no result within {timeout} s") from None
        except OSError:
            frame = None
        return frame if frame is not None else (Internal.code, self._obituary().encode())

    def _obituary(self) -> str:
        if self._pidfd >= 0:
            descriptors.readable(self._pidfd, 5)
        status = self._zygote.exit_status(self._pid)
        if status is None:
            return f"worker process {self._pid} ended without a result"
        how = f"was killed by signal {-status}" if status < 0 else f"ended with status {status}"
        return f"worker process {self._pid} {how} before it had a result"

    def _close_pidfd(self) -> None:
        if self._pidfd >= 0:
            os.close(self._pidfd)
            self._pidfd = -1


class Zygote:
    """Processes forked in about a millisecond (contract `Workers`); may be used from any thread.

    A zygote that has died is noticed by the next call, which starts another with the same modules.
    """

    def __init__(self, preload: Sequence[str]) -> None:
        self._preload = tuple(dict.fromkeys(preload))
        self._lock = Lock()
        self._control: socket.socket | None = None
        self._pid = 0
        self._closed = False
        self._ahead: dict[str, ZygoteWorker] = {}

    def __repr__(self) -> str:
        return f"Zygote(pid={self._pid}, preload={len(self._preload)})"

    @classmethod
    def launch(cls, preload: Sequence[str] = ()) -> "Zygote":
        """Start the process (`start` is the contract's, and forks a worker); returns while it imports `preload`.

        Raises Unavailable if it cannot be made.
        """
        zygote = cls(preload)
        with zygote._lock:
            zygote._spawn()
        return zygote

    @classmethod
    def reach(cls, control: socket.socket) -> "Zygote":
        """The client of a standing zygote (`standing`), by a connection to it. One that dies is not replaced."""
        zygote = cls(())
        control.settimeout(REPLY_DEADLINE)
        zygote._control, zygote._closed = control, True
        return zygote

    @property
    def pid(self) -> int:
        """The pid of the zygote now; 0 once closed, and for one that was reached."""
        return self._pid

    def start(self, target: str, payload: bytes, fds: Sequence[int] = ()) -> ZygoteWorker:
        """A worker; see the contract."""
        worker = self._fork({"kind": "fork", "target": target}, fds)
        worker.give(payload)
        return worker

    def detach(self, target: str, payload: bytes, fds: Sequence[int] = (), timeout: float = 10.0) -> tuple[int, bytes]:
        """A process that outlives zygote and daemon; see the contract."""
        worker = None if fds else self._ahead.pop(target, None)
        if worker is None or worker.ended():
            worker = self._fork_detached(target, fds)
        worker.give(payload)
        try:
            return worker.pid, worker.result(timeout)
        except BaseException:
            worker.kill()
            raise

    def ahead(self, target: str) -> None:
        """A process that waits for the payload of the next `detach`; see the contract."""
        if target not in self._ahead:
            worker = self._fork_detached(target, ())
            with self._lock:  # not after `close`: whoever is let go of sees the end of its socket, and ends
                if not self._closed:
                    self._ahead.setdefault(target, worker)

    def preload_failures(self) -> Mapping[str, str]:
        """Module to traceback for each of `preload` that could not be imported; waits until all were tried."""
        failures: dict[str, str] = self._ask({"kind": "failures"})[0]["failures"]
        return failures

    def exit_status(self, pid: int) -> int | None:
        """The exit status of a child that has ended, -n for signal n; None if it is not known (any more)."""
        try:
            status: int | None = self._ask({"kind": "status", "pid": pid})[0]["status"]
        except Unavailable:
            return None
        return status

    def close(self) -> None:
        """End the zygote and its workers; detached processes go on."""
        with self._lock:
            self._closed = True
            self._drop()

    def _fork_detached(self, target: str, fds: Sequence[int]) -> ZygoteWorker:
        return self._fork({"kind": "fork", "target": target, "detached": True}, fds)

    def _fork(self, packet: dict[str, Any], fds: Sequence[int]) -> ZygoteWorker:
        ours, theirs = socket.socketpair()
        try:
            with theirs:
                reply, received = self._ask(packet, [theirs.fileno(), *fds])
            if "error" in reply:
                raise Unavailable(f"worker process for {packet['target']}: {reply['error']}")
        except BaseException:
            ours.close()
            raise
        return ZygoteWorker(self, reply["pid"], received[0] if received else -1, ours)

    def _ask(self, packet: dict[str, Any], fds: Sequence[int] = ()) -> tuple[dict[str, Any], list[int]]:
        with self._lock:
            for attempt in (1, 2):
                if self._control is None:
                    self._spawn()
                try:
                    return self._exchange(packet, fds)
                except (OSError, EOFError) as error:
                    self._drop()
                    if attempt == 2 or isinstance(error, TimeoutError):
                        raise Unavailable(f"zygote: no answer: {error or 'it died'}") from error
        raise Internal("zygote: unreachable")

    def _exchange(self, packet: dict[str, Any], fds: Sequence[int]) -> tuple[dict[str, Any], list[int]]:
        assert self._control is not None
        frames.send_packet(self._control, packet, fds)
        reply = frames.receive_packet(self._control)
        if reply is None:
            raise EOFError("the process has ended")
        return reply

    def _spawn(self) -> None:
        if sys.platform == "win32":
            raise Unimplemented("zygote: this platform has no fork")
        if self._closed:
            raise Unavailable("zygote: closed")
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        command = [sys.executable, "-P", "-m", "corten.zygote", "3", ROOM, *self._preload]
        with theirs:
            try:
                self._pid = os.posix_spawn(
                    sys.executable,
                    command,
                    environment(),
                    file_actions=[
                        (os.POSIX_SPAWN_DUP2, theirs.fileno(), 3),
                        (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
                    ],
                    setsid=True,
                    setsigmask=[],
                    setsigdef=[*(signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP})],
                )
            except OSError as error:
                ours.close()
                raise Unavailable(f"zygote: cannot start {sys.executable}: {error}") from error
        ours.settimeout(REPLY_DEADLINE)
        self._control = ours

    def _drop(self) -> None:
        """Let go of the process: its end of the socket closes, which ends it; one that does not end is killed."""
        self._ahead.clear()
        if sys.platform == "win32" or self._control is None:
            return
        self._control.close()
        self._control = None
        pid, self._pid = self._pid, 0
        if not pid:
            return
        _terminate(pid)
        deadline = time.monotonic() + 2
        try:
            while os.waitpid(pid, os.WNOHANG)[0] == 0:
                if time.monotonic() > deadline:
                    os.kill(pid, signal.SIGKILL)
                time.sleep(0.002)
        except ChildProcessError:
            pass


def environment() -> dict[str, str]:
    """What a zygote has for its environment."""
    return {**os.environ, "GRPC_ENABLE_FORK_SUPPORT": "0"}


def _terminate(pid: int) -> None:
    """End a zygote that may still be importing or rehearsing, and does not look at its socket then."""
    try:
        os.kill(pid, signal.SIGTERM)
    except ProcessLookupError:
        pass
