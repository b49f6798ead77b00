"""Preloaded by the zygote: imports the shim and rehearses whole lives of containers, so that children find all done.

CPython 3.11 rewrites the bytecode of a function when it has run some times (PEP 659) and fills caches on first use; in
a forked child each such write copies a page. What was rehearsed here is shared by all shims. In place of runc stands
true(1), in place of a container's processes sleep(1).
"""

import os
import shutil
import signal
import socket
import sys
import tempfile
from collections.abc import Callable
from typing import Any

from corten.api.runtime.task.v2 import shim_pb2 as pb
from corten.api.ttrpc import request_pb2
from corten.api.types import event_pb2
from corten.wire.ttrpc import frames
from google.protobuf.message import Message

# ruff: noqa: E402  (what is imported below exists on Linux only)
assert sys.platform != "win32"

from . import entry
from .events import Announcer
from .loop import Loop
from .publisher import Publisher
from .reaper import Reaper
from .server import Server, listen
from .service import SERVICES, TaskService, spec_facts
from .spawn import last_error

ROUNDS = 12
"""A function is specialised after eight runs."""


class Rehearsal:
    """One server in a folder of its own, and a client that waits for each answer."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._loop, self._reaper = Loop(), Reaper()
        self._events: list[event_pb2.Envelope] = []
        settings: dict[str, Any] = {
            "namespace": "warm",
            "runc": "/bin/true",
            "runc_root": folder,
            "console": f"{folder}/t",
        }
        announce = Announcer("warm", self._events.append)
        service = TaskService(self._loop, self._reaper, announce, settings, entry.nothing)
        self._listener = listen(f"{folder}/s")
        self._server = Server(self._loop, self._listener, SERVICES, service.methods)
        self._loop.on_child(self._reaper.collect)
        self._stream = 1
        self._started: list[int] = []
        self._client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._client.connect(f"{folder}/s")

    def round(self, number: int) -> None:
        """One container with an exec, from create to delete."""
        id, bundle = f"warm{number}", f"{self._folder}/warm{number}"
        os.makedirs(f"{bundle}/rootfs")
        with open(f"{bundle}/facts.json", "w") as file:
            file.write('{"private_pids": true}')
        self._process(f"{bundle}/init.pid")
        create = pb.CreateTaskRequest(id=id, bundle=bundle, stdout=self._fifo(f"{bundle}/out"))
        if os.geteuid() == 0:
            create.rootfs.add(type="tmpfs", source="tmpfs", options=["size=64k"])
        self._call("Create", create)
        self._call("Start", pb.StartRequest(id=id))
        self._call("State", pb.StateRequest(id=id))
        self._call("Connect", pb.ConnectRequest(id=id))
        self._process(f"{bundle}/e.process.json.pid")
        spec = pb.ExecProcessRequest(id=id, exec_id="e", stdout=self._fifo(f"{bundle}/exec"))
        spec.spec.value = b'{"args": ["true"]}'
        self._call("Exec", spec)
        self._call("Start", pb.StartRequest(id=id, exec_id="e"))
        self._call("Stats", pb.StatsRequest(id=id))
        self._call("Pids", pb.PidsRequest(id=id))
        for exec_id in ("e", ""):
            self._call("Kill", pb.KillRequest(id=id, exec_id=exec_id, signal=9))
            self._call("Wait", pb.WaitRequest(id=id, exec_id=exec_id))
            self._call("State", pb.StateRequest(id=id, exec_id=exec_id))
            self._call("Delete", pb.DeleteRequest(id=id, exec_id=exec_id))
        self._started.clear()
        self._publish()

    def close(self) -> None:
        """Leave the process as it was, and nothing that it started."""

        for pid in self._started:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        self._client.close()
        self._listener.close()
        self._loop.release()

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

    def _publish(self) -> None:
        """Send the events to an events service that is this process."""
        path = f"{self._folder}/events{self._stream}"
        service = listen(path)
        publisher = Publisher(self._loop, path)
        done: list[bool] = []
        for envelope in self._events:
            publisher.publish(envelope)
        publisher.when_idle(1.0, lambda: done.append(True))
        peer, _ = service.accept()
        decoder = frames.Decoder()
        while not done:
            for frame in decoder.feed(peer.recv(65536)):
                peer.sendall(frames.encode(frame.stream, frames.RESPONSE, b""))
            self._loop.turn(0.5)
        peer.close()
        service.close()
        self._loop.turn(0)
        self._events.clear()


def warm(rehearse: Callable[[str], None]) -> None:
    """Rehearse in a temporary folder; where that cannot be done shims are only larger."""
    folder = tempfile.mkdtemp(prefix="corten-zygote-")
    try:
        rehearse(folder)
    except Exception as error:
        print(f"corten-zygote: shims are not warmed: {type(error).__name__}: {error}", file=sys.stderr)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _rehearse(folder: str) -> None:
    rehearsal = Rehearsal(folder)
    try:
        for number in range(ROUNDS):
            rehearsal.round(number)
            last_error('{"level":"error","msg":"warm"}')
            spec_facts({"linux": {"namespaces": [{"type": "pid"}]}})
    finally:
        rehearsal.close()


warm(_rehearse)
