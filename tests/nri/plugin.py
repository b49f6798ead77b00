"""A small NRI plugin: it multiplexes and speaks ttrpc by itself, and answers as it is told; also a program.

    with TestPlugin(path, "10", "tuner", create_container=lambda request: answer) as plugin:
        ...
        assert plugin.told("StartContainer")

As a program (descriptor 3, or NRI_PLUGIN_SOCKET) it sets an annotation on each container and notes what it is told in
the file that its configuration names.
"""

import os
import socket
import struct
import threading
from collections.abc import Callable
from typing import Any

from corten.api.nri.v1alpha1 import nri_pb2 as pb
from corten.api.ttrpc.request_pb2 import Request, Response

HEADER = struct.Struct(">II")
TTRPC = struct.Struct(">IIBB")
PLUGIN, RUNTIME = 1, 2
Answer = Callable[[Any], Any]


class Refusal(Exception):
    """What a plugin answers with: a status code and a text."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code


class TestPlugin:
    """Connects when entered and answers in a thread of its own; `calls` are what it was told, in order."""

    __test__ = False

    def __init__(
        self,
        where: str | socket.socket,
        index: str,
        name: str,
        *,
        events: int = 0,
        register: bool = True,
        **answers: Answer,
    ) -> None:
        self._where = where
        self.index, self.name, self.events = index, name, events
        self._register = register
        self._answers = answers
        self._lock = threading.Lock()
        self._stream = -1
        self._replies: dict[int, Response] = {}
        self._news = threading.Condition()
        self.calls: list[tuple[str, Any]] = []
        self.ended = threading.Event()
        self.refused = ""

    def __enter__(self) -> "TestPlugin":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(self) -> None:
        """Connect and register, in the background."""
        if isinstance(self._where, socket.socket):
            self.sock = self._where
        else:
            self.sock = socket.socket(socket.AF_UNIX)
            self.sock.connect(self._where)
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()
        if self._register:
            threading.Thread(target=self._registered, daemon=True).start()

    def close(self) -> None:
        """Go away."""
        try:
            self.sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self._thread.join(5)
        self.sock.close()

    def come_and_go(self) -> None:
        """Connect, register, be synchronized, and go away."""
        with self:
            self.wait_for("Synchronize")

    def wait_for(self, method: str, timeout: float = 10) -> Any:
        """The first request of that method, once it was made."""
        with self._news:
            assert self._news.wait_for(lambda: self.told(method), timeout), f"never told {method}: {self.names}"
        return self.told(method)[0]

    def told(self, method: str) -> list[Any]:
        """The requests of that method so far."""
        return [request for name, request in self.calls if name == method]

    @property
    def names(self) -> list[str]:
        """The methods in the order in which they were called."""
        return [name for name, _ in self.calls]

    def update_containers(self, *updates: pb.ContainerUpdate, evict: tuple[pb.ContainerEviction, ...] = ()) -> Any:
        """Ask the runtime by itself."""
        answer = self.call("UpdateContainers", pb.UpdateContainersRequest(update=updates, evict=evict))
        return pb.UpdateContainersResponse.FromString(answer.payload)

    def call(self, method: str, request: Any, timeout: float = 10) -> Response:
        """Call the runtime and wait for the answer."""
        with self._lock:
            self._stream += 2
            stream = self._stream
        message = Request(service="nri.pkg.api.v1alpha1.Runtime", method=method, payload=request.SerializeToString())
        self._send(RUNTIME, stream, 1, message.SerializeToString())
        with self._news:
            assert self._news.wait_for(lambda: stream in self._replies or self.ended.is_set(), timeout), method
            return self._replies.get(stream, Response())

    def _registered(self) -> None:
        request = pb.RegisterPluginRequest(plugin_name=self.name, plugin_idx=self.index, NRI_version="v0.12.0")
        answer = self.call("RegisterPlugin", request)
        self.refused = answer.status.message

    def _read(self) -> None:
        waiting = {PLUGIN: b"", RUNTIME: b""}
        try:
            while True:
                lane, length = HEADER.unpack(self._exactly(HEADER.size))
                waiting[lane] += self._exactly(length)
                while len(waiting[lane]) >= TTRPC.size:
                    size, stream, _, _ = TTRPC.unpack_from(waiting[lane])
                    if len(waiting[lane]) < TTRPC.size + size:
                        break
                    data = waiting[lane][TTRPC.size : TTRPC.size + size]
                    waiting[lane] = waiting[lane][TTRPC.size + size :]
                    self._got(lane, stream, data)
        except (OSError, EOFError):
            pass
        finally:
            self.ended.set()
            with self._news:
                self._news.notify_all()

    def _got(self, lane: int, stream: int, data: bytes) -> None:
        if lane == RUNTIME:
            with self._news:
                self._replies[stream] = Response.FromString(data)
                self._news.notify_all()
            return
        request = Request.FromString(data)
        threading.Thread(target=self._answer, args=(stream, request), daemon=True).start()

    def _answer(self, stream: int, request: Request) -> None:
        method = request.method
        kind = "StateChangeEvent" if method == "StateChange" else f"{method}Request"
        message = getattr(pb, kind, pb.Empty).FromString(request.payload)
        with self._news:
            self.calls.append((method, message))
            self._news.notify_all()
        snake = "".join(f"_{c.lower()}" if c.isupper() else c for c in method).lstrip("_")
        response = Response()
        try:
            given = self._answers[snake](message) if snake in self._answers else self._default(method)
            response.payload = (given or self._default(method)).SerializeToString()
        except Refusal as error:
            response.status.code, response.status.message = error.code, str(error)
        try:
            self._send(PLUGIN, stream, 2, response.SerializeToString())
        except OSError:
            pass

    def _default(self, method: str) -> Any:
        if method == "Configure":
            return pb.ConfigureResponse(events=self.events)
        if method == "Synchronize":
            return pb.SynchronizeResponse(more=self.told("Synchronize")[-1].more)
        return getattr(pb, f"{method}Response", pb.Empty)()

    def _send(self, lane: int, stream: int, kind: int, data: bytes) -> None:
        whole = TTRPC.pack(len(data), stream, kind, 0) + data
        with self._lock:
            for part in (whole[:7], whole[7:]):  # a message may come in any pieces
                self.sock.sendall(HEADER.pack(lane, len(part)) + part)

    def _exactly(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            part = self.sock.recv(size - len(data))
            if not part:
                raise EOFError
            data += part
        return data


def main() -> None:
    """The program."""
    sock = socket.socket(fileno=int(os.environ["NRI_PLUGIN_SOCKET"]))
    notes: list[str] = []

    def configure(request: pb.ConfigureRequest) -> None:
        notes.append(request.config.strip())
        note(f"configured {os.environ['NRI_PLUGIN_IDX']} {os.environ['NRI_PLUGIN_NAME']}")

    def note(text: str) -> None:
        if notes and notes[0]:
            with open(notes[0], "a") as file:
                file.write(f"{text}\n")

    def create(request: pb.CreateContainerRequest) -> pb.CreateContainerResponse:
        note(f"create {request.container.name}")
        return pb.CreateContainerResponse(adjust=pb.ContainerAdjustment(annotations={"installed": "yes"}))

    plugin = TestPlugin(sock, "", "", configure=configure, create_container=create)
    plugin.start()
    plugin.ended.wait()


if __name__ == "__main__":
    main()
