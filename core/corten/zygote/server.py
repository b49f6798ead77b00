"""The zygote itself: one thread, one control socket, a fork for each request; it ends when the daemon's end closes."""

import gc
import json
import os
import signal
import socket
import sys
from collections.abc import Sequence
from typing import Any

from . import compact, frames, preload, process

assert sys.platform != "win32"

STATUSES_KEPT = 1024
"""Exit statuses remembered for a daemon that may ask; the oldest go first."""

REHEARSALS = 12


def main(fd: int, modules: Sequence[str]) -> None:
    """Import `modules`, then serve the socket `fd` until its other end closes."""
    process.name_process("corten-zygote")
    process.reserve_title()
    process.set_title(["corten-zygote"])
    control = socket.socket(fileno=fd)
    control.set_inheritable(False)
    failures = preload.preload(modules)
    os.chdir("/")
    compact.fill_holes()
    failures |= preload.rehearse(modules)
    server = _Server(control, failures)
    rehearse(server)
    compact.fill_holes()
    gc.freeze()
    gc.disable()
    server.serve()
    os._exit(0)


def rehearse(server: "_Server") -> None:
    """Let it fork children that end at once: what the first forks write would be copied for each child after them."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    serving = _Server(theirs, {})
    for _ in range(REHEARSALS):
        near, far = socket.socketpair()
        with near:
            with far:
                frames.send_packet(ours, {"kind": "fork", "target": "", "detached": True}, [far.fileno()])
            serving.step()
            reply = frames.receive_packet(ours)
            near.shutdown(socket.SHUT_WR)
            near.recv(1)
            for fd in reply[1] if reply else ():
                os.waitid(os.P_PIDFD, fd, os.WEXITED)
                os.close(fd)
    ours.close()
    theirs.close()


class _Server:
    def __init__(self, control: socket.socket, failures: dict[str, str]) -> None:
        self._control, self._fd = control, control.fileno()
        self._failures = failures
        self._statuses: dict[int, int] = {}

    def serve(self) -> None:
        signal.signal(signal.SIGCHLD, self._reap)
        while self.step():
            pass

    def step(self) -> bool:
        request = frames.receive_packet(self._control)
        if request is not None:
            self._handle(*request)
        return request is not None

    def _handle(self, packet: dict[str, Any], fds: list[int]) -> None:
        match packet["kind"]:
            case "fork":
                self._fork(packet, fds)
            case "status":
                frames.send_packet(self._control, {"status": self._statuses.pop(packet["pid"], None)})
            case "failures":
                self._send_failures()

    def _fork(self, packet: dict[str, Any], fds: list[int]) -> None:
        parent = os.getpid()
        try:
            pid = os.fork()
            if pid == 0:
                self._become_child(packet, fds, parent)
            fds.append(_pidfd(pid))
            frames.send_packet(self._control, {"pid": pid}, [fd for fd in fds[-1:] if fd >= 0])
        except OSError as error:
            frames.send_packet(self._control, {"error": f"cannot fork: {error}"})
        finally:
            for fd in fds:
                if fd >= 0:
                    os.close(fd)

    def _become_child(self, packet: dict[str, Any], fds: list[int], parent: int) -> None:
        preload.children().run(packet, fds, self._fd, parent)

    def _send_failures(self) -> None:
        cut = {name: text[-4000:] for name, text in self._failures.items()}
        while len(json.dumps(cut)) > frames.PACKET_MAX - 100:
            cut.popitem()
        frames.send_packet(self._control, {"failures": cut})

    def _reap(self, signum: int, frame: object) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if not pid:
                return
            self._statuses[pid] = os.waitstatus_to_exitcode(status)
            if len(self._statuses) > STATUSES_KEPT:
                del self._statuses[next(iter(self._statuses))]


def _pidfd(pid: int) -> int:
    """A pidfd of the child; -1 if it ended so soon that the signal handler has reaped it."""
    try:
        return os.pidfd_open(pid)
    except OSError:
        return -1
