"""The daemon's side of the copier: FIFOs for shims that do not know the scheme `cri:`, and a process that holds them.

A task may have all its stdio by streams of the streaming API (`stream_at`): the copier reads these then.

In the bundle of a task stands `streams/NAME/` for each of its processes that has such streams (`init`, `exec-ID`): its
FIFOs 0, 1 and 2, and `request`, what the copier was told. From these a copier that died, whenever that was, is told
anew; while there is none a container may wait for its FIFO to be read, and what only the copier had is lost.
"""

import asyncio
import logging
import os
import shutil
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from corten.api.shim.v1 import streams_pb2 as pb
from corten.contracts.runtime import CRI_LOG, Stdio
from corten.contracts.workers import Workers
from corten.errors import CortenError, FailedPrecondition, Unavailable, Unimplemented, mapped
from corten.pools import Pools
from corten.supervisor import Supervisor
from corten.wire.ttrpc.client import TtrpcClient
from google.protobuf.empty_pb2 import Empty
from google.protobuf.message import DecodeError, Message

assert sys.platform != "win32"

TARGET = "corten_runtimes.shim.copier:run"
COPIER, STREAMS = "corten.shim.v1.Copier", "corten.shim.v1.Streams"
DEADLINE = 10.0
CLOSE_DEADLINE = 30.0
"""Seconds for the answer to Close: the copier gives up on what a process left after 20 s (`CLOSE_MAX`)."""
REVIVALS = 3
ADDRESS = "address"
"""File in the folder `streams` of a task whose stdio goes by streams."""
_STREAMABLE = ("fifo://", "file://", f"{CRI_LOG}:")
log = logging.getLogger(__name__)
Key = tuple[str, str, str]


class Copier:
    """Asks the copier; starts it where there is none."""

    def __init__(self, workers: Workers, pools: Pools, supervisor: Supervisor, socket: Path) -> None:
        self._workers, self._pools, self._supervisor, self._socket = workers, pools, supervisor, socket
        self._client: TtrpcClient | None = None
        self._connecting = asyncio.Lock()
        self._closing = False
        self.known: dict[Key, pb.OpenRequest] = {}
        """What a copier must have open, by namespace, task and exec id."""

    def __repr__(self) -> str:
        return f"Copier({self._socket}, {len(self.known)} processes)"

    async def open(self, request: pb.OpenRequest) -> None:
        """Have a process's FIFOs held, and again by every later copier."""
        await self.call(COPIER, "Open", request)
        self.known[_key(request)] = request

    async def close(self, namespace: str, id: str, exec_id: str) -> None:
        """Let go of a process, or with an empty exec id of a task, once all that its FIFOs hold was carried."""
        whole = (namespace, id, exec_id)
        held = [key for key in self.known if key == whole or (not exec_id and key[:2] == whole[:2])]
        for key in held:
            del self.known[key]
        if held:
            request = pb.ProcessRequest(namespace=namespace, id=id, exec_id=exec_id)
            await self.call(COPIER, "Close", request, CLOSE_DEADLINE)

    def recall(self, bundle: str) -> None:
        """A bundle of an earlier daemon: know its processes again. Called on the event loop."""
        found = list(_requests(Path(bundle)))
        for request in found:
            self.known[_key(request)] = request
        if found:
            self._supervisor.background("reach the copier", self._revive())

    async def call(self, service: str, method: str, request: Message, timeout: float = DEADLINE) -> None:
        """One call, on a copier that has all that is known open."""
        client = await self._connected()
        await client.call(service, method, request, Empty, timeout=timeout)

    async def disconnect(self) -> None:
        """Leave the copier to itself."""
        self._closing = True
        if self._client is not None:
            await self._client.close()

    async def _connected(self) -> TtrpcClient:
        async with self._connecting:
            if self._client is None or self._client.closed:
                self._client = await self._connect()
                for key, request in list(self.known.items()):
                    await self._open_again(self._client, key, request)
            return self._client

    async def _connect(self) -> TtrpcClient:
        path = str(self._socket)
        try:
            return await TtrpcClient.connect(path, timeout=DEADLINE, on_close=lambda _: self._lost())
        except Unavailable:
            await self._pools.run("runtime", self._start)
            return await TtrpcClient.connect(path, timeout=DEADLINE, on_close=lambda _: self._lost())

    async def _open_again(self, client: TtrpcClient, key: Key, request: pb.OpenRequest) -> None:
        try:
            await client.call(COPIER, "Open", request, Empty, timeout=DEADLINE)
        except CortenError as error:
            log.warning("streams of task %s: they are not copied any more: %s", "/".join(key[:2]), error.message)
            self.known.pop(key, None)

    def _start(self) -> None:
        self._socket.unlink(missing_ok=True)
        self._workers.detach(TARGET, str(self._socket).encode())

    def _lost(self) -> None:
        if self.known and not self._closing:
            log.warning("the copier has ended: another is started")
            self._supervisor.background("start the copier again", self._revive())

    async def _revive(self) -> None:
        for attempt in range(REVIVALS):
            try:
                await self._connected()
            except CortenError as error:
                log.warning("the copier cannot be reached (attempt %d): %s", attempt + 1, error.message)
                await asyncio.sleep(1)
            else:
                return


def stream_at(bundle: str, address: str) -> None:
    """Have all stdio of a task go by streams of the streaming API at the shim's address, and not by FIFOs. Blocks."""
    folder = Path(bundle) / "streams"
    with mapped(f"streams {folder}"):
        folder.mkdir(mode=0o700)
        (folder / ADDRESS).write_text(address)


def streams_at_shim(bundle: str) -> bool:
    """Whether `stream_at` was called."""
    return os.path.exists(f"{bundle}/streams/{ADDRESS}")


class CopiedStreams:
    """The `cri:` streams of one task, or all of one whose stdio is streamed (contract `ShimStreams`)."""

    def __init__(self, copier: Copier, pools: Pools, namespace: str, id: str, bundle: str) -> None:
        self._copier, self._pools = copier, pools
        self._namespace, self._id, self._folder = namespace, id, Path(bundle) / "streams"

    async def open(self, exec_id: str, stdio: Stdio) -> Stdio:
        address = await self._pools.run("runtime", _address, self._folder)
        uris = _uris(stdio, all=bool(address))
        if not any(uri for _, uri in uris):
            return stdio
        folder = self._folder_of(exec_id)
        request = pb.OpenRequest(
            namespace=self._namespace, id=self._id, exec_id=exec_id, terminal=stdio.terminal,
            **{f"{name}_uri": uri for name, uri in uris},
        )  # fmt: skip
        for fd, (name, uri) in enumerate(uris):
            if uri:
                stream = f"{address}?streaming_id={self._id}{'-' * bool(exec_id)}{exec_id}-{name}"
                setattr(request, name, stream if address else str(folder / str(fd)))
        await self._pools.run("runtime", _make, folder, request)
        try:
            await self._copier.open(request)
        except BaseException:
            await asyncio.shield(self._pools.run("runtime", _remove, folder))
            raise
        given = {name: str(getattr(request, name)) for name, uri in uris if uri}
        return replace(stdio, **given)  # type: ignore[arg-type]

    def told(self, exec_id: str) -> Stdio | None:
        request = self._copier.known.get((self._namespace, self._id, exec_id))
        if request is None:
            return None
        return Stdio(request.stdin_uri, request.stdout_uri, request.stderr_uri, request.terminal)

    async def attach(self, exec_id: str, stdio: Stdio, *, holds_up: bool = False) -> None:
        self._require(exec_id)
        request = pb.AttachRequest(
            namespace=self._namespace, id=self._id, exec_id=exec_id, stdin=stdio.stdin, stdout=stdio.stdout,
            stderr=stdio.stderr, holds_up=holds_up,
        )  # fmt: skip
        await self._copier.call(STREAMS, "Attach", request)

    async def reopen_log(self) -> None:
        self._require("")
        await self._copier.call(STREAMS, "ReopenLog", pb.ReopenLogRequest(namespace=self._namespace, id=self._id))

    async def close_stdin(self, exec_id: str) -> None:
        if self.told(exec_id) is not None:
            request = pb.ProcessRequest(namespace=self._namespace, id=self._id, exec_id=exec_id)
            await self._copier.call(COPIER, "CloseStdin", request)

    async def close(self, exec_id: str) -> None:
        try:
            await self._copier.close(self._namespace, self._id, exec_id)
        except CortenError as error:
            log.warning("streams of task %s/%s: the end of its output: %s", self._namespace, self._id, error.message)
        await self._pools.run("runtime", _remove, self._folder_of(exec_id))

    def _require(self, exec_id: str) -> None:
        if self.told(exec_id) is None:
            raise FailedPrecondition(f"task {self._id!r}: its streams are not of the scheme {CRI_LOG}:")

    def _folder_of(self, exec_id: str) -> Path:
        return self._folder / (f"exec-{exec_id}" if exec_id else "init")


def _key(request: pb.OpenRequest) -> Key:
    return (request.namespace, request.id, request.exec_id)


def _copied(uri: str) -> bool:
    return uri.startswith(f"{CRI_LOG}:")


def _uris(stdio: Stdio, *, all: bool) -> list[tuple[str, str]]:
    """By name, in the order of their descriptors, those that are copied. Raises Unimplemented."""
    named = (("stdin", stdio.stdin), ("stdout", stdio.stdout), ("stderr", stdio.stderr))
    for _, uri in named if all else ():
        if "://" in uri and not uri.startswith(_STREAMABLE):
            raise Unimplemented(f"stdio {uri!r}: of a task whose stdio is streamed it is FIFOs, file:// or {CRI_LOG}:")
    wanted = [(name, uri) for name, uri in named if not (name == "stderr" and stdio.terminal)]
    return [(name, uri if _copied(uri) or all else "") for name, uri in wanted] + [("stderr", "")] * (3 - len(wanted))


def _address(folder: Path) -> str:
    """Where the shim serves its streams; empty where FIFOs are used."""
    try:
        return (folder / ADDRESS).read_text()
    except FileNotFoundError:
        return ""


def _make(folder: Path, request: pb.OpenRequest) -> None:
    with mapped(f"streams {folder}"):
        folder.mkdir(mode=0o700, parents=True)
        for path in (request.stdin, request.stdout, request.stderr):
            if path.startswith("/"):
                os.mkfifo(path, 0o600)
        (folder / "request").write_bytes(request.SerializeToString())


def _remove(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)


def _requests(bundle: Path) -> Iterator[pb.OpenRequest]:
    for path in sorted(bundle.glob("streams/*/request")):
        try:
            yield pb.OpenRequest.FromString(path.read_bytes())
        except (OSError, DecodeError) as error:
            log.warning("streams %s: cannot be read, and are not copied: %s", path, error)
