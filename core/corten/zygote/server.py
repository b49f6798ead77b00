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
    server = Server(prepare(modules))
    server.reap_children()
    server.serve(control)
    os._exit(0)


def prepare(modules: Sequence[str]) -> dict[str, str]:
    """Import and rehearse what the children need; returns module to traceback for those that failed."""
    failures = preload.preload(modules)
    os.chdir("/")
    compact.fill_holes()
    failures |= preload.rehearse(modules)
    rehearse()
    compact.fill_holes()
    gc.freeze()
    gc.disable()
    return failures


def rehearse() -> None:
    """Fork children that end at once: what the first forks write would be copied for each child after them."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    server = Server({})
    for _ in range(REHEARSALS):
        near, far = socket.socketpair()
        with near:
            with far:
                frames.send_packet(ours, {"kind": "fork", "target": "", "detached": True}, [far.fileno()])
            server.step(theirs)
            reply = frames.receive_packet(ours)
            near.shutdown(socket.SHUT_WR)
            near.recv(1)
            for fd in reply[1] if reply else ():
                os.waitid(os.P_PIDFD, fd, os.WEXITED)
                os.close(fd)
    ours.close()
    theirs.close()


class Server:
    """Forks what is asked for on a control socket. `kept` are further descriptors that children must not have."""

    def __init__(self, failures: dict[str, str], kept: tuple[int, ...] = ()) -> None:
        self._failures, self._kept = failures, kept
        self._statuses: dict[int, int] = {}

    def reap_children(self) -> None:
        """Keep the statuses of children that end, from now on."""
        signal.signal(signal.SIGCHLD, self._reap)

    def serve(self, control: socket.socket) -> None:
        """Until the other end closes."""
        while self.step(control):
            pass

    def step(self, control: socket.socket) -> bool:
        """Serve one request; False at the end."""
        request = frames.receive_packet(control)
        if request is not None:
            self._handle(control, *request)
        return request is not None

    def _handle(self, control: socket.socket, packet: dict[str, Any], fds: list[int]) -> None:
        match packet["kind"]:
            case "fork":
                self._fork(control, packet, fds)
            case "status":
                frames.send_packet(control, {"status": self._statuses.pop(packet["pid"], None)})
            case "failures":
                self._send_failures(control)

    def _fork(self, control: socket.socket, packet: dict[str, Any], fds: list[int]) -> None:
        parent = os.getpid()
        try:
            pid = os.fork()
            if pid == 0:
                preload.children().run(packet, fds, (control.fileno(), *self._kept), parent)
            fds.append(_pidfd(pid))
            frames.send_packet(control, {"pid": pid}, [fd for fd in fds[-1:] if fd >= 0])
        except OSError as error:
            frames.send_packet(control, {"error": f"cannot fork: {error}"})
        finally:
            for fd in fds:
                if fd >= 0:
                    os.close(fd)

    def _send_failures(self, control: socket.socket) -> None:
        cut = {name: text[-4000:] for name, text in self._failures.items()}
        while len(json.dumps(cut)) > frames.PACKET_MAX - 100:
            cut.popitem()
        frames.send_packet(control, {"failures": cut})

    def _reap(self, signum: int, frame: object) -> None:
        self.has_children()

    def has_children(self) -> bool:
        """Whether a child lives; keeps the statuses of those that have ended."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return False
            if not pid:
                return True
            self._statuses[pid] = os.waitstatus_to_exitcode(status)
            if len(self._statuses) > STATUSES_KEPT:
                del self._statuses[next(iter(self._statuses))]


def _pidfd(pid: int) -> int:
    """A pidfd of the child; -1 if it ended so soon that the signal handler has reaped it."""
    try:
        return os.pidfd_open(pid)
    except OSError:
        return -1
