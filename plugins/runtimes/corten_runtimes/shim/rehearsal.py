"""Rehearses whole lives of containers in the zygote, so that shims find all done.

CPython 3.11 rewrites the bytecode of a function when it has run some times (PEP 659) and fills caches on first use; in
a forked child each such write copies a page. What was rehearsed here is shared by all shims. In place of runc stands
true(1), in place of a container's processes sleep(1).
"""

import json
import os
import shutil
import signal
import socket
import sys
import tempfile

from corten.api.runtime.task.v2 import shim_pb2 as pb
from corten.api.ttrpc import request_pb2
from corten.wire.ttrpc import frames
from corten.zygote import process
from google.protobuf.message import Message

# ruff: noqa: E402  (what is imported below exists on Linux only)
assert sys.platform != "win32"

from . import entry, settings
from .facts import spec_facts
from .keeper import PARKED, Keeper
from .loop import IN, Loop
from .server import listen
from .service import SERVICES
from .worker import Worker

ROUNDS = 12
"""A function is rewritten after eight runs, its instructions some runs later."""


class Rehearsal:
    """One shim in a folder, its client that waits for each answer, and its events service."""

    def __init__(self, folder: str, number: int) -> None:
        self._folder, self._number = folder, number
        self._events = listen(f"{folder}/events{number}")
        told = {
            "id": f"warm{number}", "namespace": "warm", "address": "a", "socket": f"{folder}/s{number}",
            "console": f"{folder}/t", "ttrpc_address": f"{folder}/events{number}", "runc": "/bin/true",
            "runc_root": folder,
        }  # fmt: skip
        self._answers: list[bytes] = []
        told = settings.decode(settings.encode(told))
        self._keeper = entry.start(told)
        self._worker = entry.take_on(entry.Shim(), self._keeper, told, self._answers.append)
        self._stream = 1
        self._started: list[int] = []
        self._fifos: list[int] = []
        self._client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._client.connect(f"{folder}/s{number}")

    def round(self) -> None:
        """One container with an exec, from create to delete."""
        id, bundle = f"warm{self._number}", f"{self._folder}/warm{self._number}"
        os.makedirs(f"{bundle}/rootfs")
        with open(f"{bundle}/facts.json", "w") as file:
            json.dump({**spec_facts({"linux": {"namespaces": [{"type": "pid"}]}}), "direct": True}, file)
        self._process(f"{bundle}/init.pid")
        create = pb.CreateTaskRequest(id=id, bundle=bundle, stdout=self._fifo(f"{bundle}/out"))
        self._call("Create", create)
        self._state(f"{self._folder}/warm/{id}")
        self._call("Start", pb.StartRequest(id=id))
        self._call("State", pb.StateRequest(id=id))
        self._call("Connect", pb.ConnectRequest(id=id))
        for exec_id, out in (("e", self._fifo(f"{bundle}/exec")), ("l", f"cri://{bundle}/log?max_line=16384")):
            self._process(f"{bundle}/{exec_id}.process.json.pid")
            spec = pb.ExecProcessRequest(id=id, exec_id=exec_id, stdout=out)
            spec.spec.value = b'{"args":["true"]}'
            self._call("Exec", spec)
            self._call("Start", pb.StartRequest(id=id, exec_id=exec_id))
        self._take_events()
        self._follow()
        self._call("Stats", pb.StatsRequest(id=id))
        self._call("Pids", pb.PidsRequest(id=id))
        for exec_id in ("e", "l", ""):
            self._call("Kill", pb.KillRequest(id=id, exec_id=exec_id, signal=9))
            self._call("Wait", pb.WaitRequest(id=id, exec_id=exec_id))
            self._call("State", pb.StateRequest(id=id, exec_id=exec_id))
            self._call("Delete", pb.DeleteRequest(id=id, exec_id=exec_id))
        self._started.clear()
        self._take_events()

    def close(self) -> None:
        """Leave the process as it was, and nothing that it started."""
        for pid in self._started:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        for fd in self._fifos:
            os.close(fd)
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        self._client.close()
        self._events.close()
        self._worker.shim.close()
        self._keeper.close()
        os.chdir("/")

    def keep(self) -> None:
        """A keeper and workers that have nothing to do."""
        keeper = Keeper("/")
        if keeper.keep(_nothing) is None:
            _follow_up(keeper)
        keeper.close()

    def _follow(self) -> None:
        """Have another worker go on."""
        first, second = self._worker, Worker(entry.Shim(), self._keeper)
        second.unpack(first.pack())
        first.shim.abandon()
        self._worker = second

    @property
    def _loop(self) -> Loop:
        return self._worker.shim.loop

    def _call(self, method: str, request: Message) -> None:
        self._stream += 2
        message = request_pb2.Request(service=SERVICES[1], method=method, payload=request.SerializeToString())
        self._client.sendall(frames.encode(self._stream, frames.REQUEST, message.SerializeToString()))
        self._client.setblocking(False)
        while not self._answered():
            self._loop.turn(0.5)
        self._client.setblocking(True)

    def _answered(self) -> bool:
        try:
            return bool(self._client.recv(65536))
        except BlockingIOError:
            return False

    def _process(self, pid_file: str) -> None:
        pid = os.posix_spawn("/bin/sleep", ["sleep", "60"], os.environ)
        self._started.append(pid)
        with open(pid_file, "w") as file:
            file.write(str(pid))

    def _fifo(self, path: str) -> str:
        os.mkfifo(path)
        return path

    def _state(self, path: str) -> None:
        """What runc leaves for a container that waits to be started: a FIFO whose writer is there."""
        os.makedirs(path)
        os.mkfifo(f"{path}/exec.fifo")
        fd = os.open(f"{path}/exec.fifo", os.O_RDWR)
        os.write(fd, b"0")
        self._fifos.append(fd)

    def _take_events(self) -> None:
        """Be the events service until all were sent."""
        done: list[bool] = []
        self._worker.shim.publisher.when_idle(1.0, lambda: done.append(True))
        fd, _ = self._events._accept()  # type: ignore[attr-defined]
        peer = socket.socket(fileno=fd)
        decoder = frames.Decoder()
        while not done:
            for frame in decoder.feed(peer.recv(65536)):
                peer.sendall(frames.encode(frame.stream, frames.RESPONSE, b""))
            self._loop.turn(0.5)
        peer.close()
        self._loop.turn(0)


def rehearse() -> None:
    """Rehearse in a temporary folder. Raises whatever goes wrong: shims are only larger then."""
    folder = tempfile.mkdtemp(prefix="corten-zygote-")
    try:
        _rehearse(folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        process.name_process("corten-zygote")
        process.become_subreaper(False)
        process.set_title(["corten-zygote"])


def _rehearse(folder: str) -> None:
    for number in range(ROUNDS):
        _one(folder, number)
    entry.prepare()


def _one(folder: str, number: int) -> None:
    rehearsal = Rehearsal(folder, number)
    try:
        rehearsal.round()
        rehearsal.keep()
    finally:
        rehearsal.close()


def _follow_up(keeper: Keeper) -> None:
    """What a worker of `keep` does: it parks, and the second has the keeper end."""
    if keeper.parked:
        os._exit(0)
    keeper.epoll.register(keeper.lot[1].fileno(), IN)
    keeper.lot[0].send(b"\0")
    os._exit(PARKED)


def _nothing() -> None:
    """In place of letting go of the socket to the daemon."""
