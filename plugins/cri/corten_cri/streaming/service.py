"""The RPCs Exec, Attach and PortForward: each answers with a URL for one client."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from corten.api.cri.v1 import runtime_pb2 as pb
from corten.errors import FailedPrecondition, InvalidArgument
from corten.wire.service import CallContext

from ..contracts import Execs
from ..parts import Parts
from ..state.pods import PodState
from .commands import Wanted
from .server import AttachAsked, ExecAsked, ForwardAsked, StreamingServer

# ruff: noqa: E402  (what is imported below exists on Linux only)
assert sys.platform != "win32"

from .target import CriTarget, running


class CriStreaming:
    """Fulfils `Streaming`."""

    def __init__(self, parts: Parts, execs: Execs) -> None:
        self._parts = parts
        self._target = CriTarget(parts, execs)
        self._server = StreamingServer(parts.server_config, self._target)

    def __repr__(self) -> str:
        return f"CriStreaming({self._server}, {self._target})"

    async def start(self) -> None:
        await self._parts.run(_empty, self._parts.state / "streams")
        await self._server.start()

    async def close(self) -> None:
        await self._server.close()
        await self._target.close()

    async def exec(self, request: pb.ExecRequest, call: CallContext) -> pb.ExecResponse:
        container = running(self._parts, _given(request.container_id, "container_id"))
        if not request.cmd:
            raise InvalidArgument(f"exec in container {container.id}: there is no command")
        asked = ExecAsked(container.id, tuple(request.cmd), _wanted(request))
        return pb.ExecResponse(url=self._server.url(asked))

    async def attach(self, request: pb.AttachRequest, call: CallContext) -> pb.AttachResponse:
        container = running(self._parts, _given(request.container_id, "container_id"))
        return pb.AttachResponse(url=self._server.url(AttachAsked(container.id, _wanted(request))))

    async def port_forward(self, request: pb.PortForwardRequest, call: CallContext) -> pb.PortForwardResponse:
        pod = self._parts.pods.get(_given(request.pod_sandbox_id, "pod_sandbox_id"))
        if pod.state is not PodState.READY:
            raise FailedPrecondition(f"pod {pod.id}: it is not ready, so that no port of it can be reached")
        return pb.PortForwardResponse(url=self._server.url(ForwardAsked(pod.id, tuple(request.port))))


def _wanted(request: pb.ExecRequest | pb.AttachRequest) -> Wanted:
    return Wanted(request.stdin, request.stdout, request.stderr, request.tty)


def _given(id: str, field: str) -> str:
    if not id:
        raise InvalidArgument(f"missing required {field}")
    return id


def _empty(folder: Path) -> None:
    """FIFOs of an earlier daemon have nobody at this end any more."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(mode=0o700, parents=True)
