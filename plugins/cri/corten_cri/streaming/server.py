"""`StreamingServer`: hands out URLs for exec, attach and port-forward, and serves the clients that come with them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from corten.errors import CortenError, InvalidArgument
from corten.values import dataclass

from ..config.server import ServerConfig
from . import commands, forwards, http, status
from .commands import Wanted
from .listener import Listener
from .model import CommandStreams, Duplex, Target
from .tcp import TcpTransport
from .tokens import Tokens

METHODS = ("GET", "POST")


@dataclass(frozen=True, slots=True)
class ExecAsked:
    """An exec for which a client will come."""

    container: str
    command: tuple[str, ...]
    wanted: Wanted


@dataclass(frozen=True, slots=True)
class AttachAsked:
    """An attach for which a client will come."""

    container: str
    wanted: Wanted


@dataclass(frozen=True, slots=True)
class ForwardAsked:
    """A port-forward for which a client will come; `ports` are used over plain WebSocket only."""

    pod: str
    ports: tuple[int, ...]


Asked = ExecAsked | AttachAsked | ForwardAsked
_PATHS: dict[type[Asked], str] = {ExecAsked: "exec", AttachAsked: "attach", ForwardAsked: "portforward"}


class StreamingServer:
    """`start` before `url` is asked; `close` at the end."""

    def __init__(self, config: ServerConfig, target: Target) -> None:
        self._target = target
        self._tokens: Tokens[Asked] = Tokens()
        self._listener = Listener(config, self._serve)

    def __repr__(self) -> str:
        return f"StreamingServer({self._listener}, {self._tokens})"

    async def start(self) -> None:
        await self._listener.start()

    async def close(self) -> None:
        await self._listener.close()

    def url(self, asked: Asked) -> str:
        """Where the client of this request may come, once and soon. Raises InvalidArgument, ResourceExhausted."""
        if isinstance(asked, ExecAsked | AttachAsked):
            asked = replace(asked, wanted=_checked(asked.wanted))
        return f"{self._listener.url}/{_PATHS[type(asked)]}/{self._tokens.issue(asked)}"

    async def _serve(self, transport: TcpTransport, head: http.Head) -> None:
        if head.method not in METHODS:
            raise http.Refusal(405, f"the method {head.method} is not allowed here", [("Allow", ", ".join(METHODS))])
        _, kind, token, *rest = [*head.path.partition("?")[0].split("/"), "", ""]
        asked = self._tokens.redeem(token)
        if asked is None or kind != _PATHS[type(asked)] or any(rest[:-2]):
            raise http.Refusal(404, "404 page not found: the URL was used already, has expired, or never was")
        match asked:
            case ExecAsked(container, command, wanted):
                await commands.serve(transport, head, wanted, lambda streams: self._exec(container, command, streams))
            case AttachAsked(container, wanted):
                await commands.serve(transport, head, wanted, lambda streams: self._attach(container, streams))
            case ForwardAsked(pod, ports):
                await forwards.serve(transport, head, pod, ports, lambda port, data: self._forward(pod, port, data))

    async def _exec(self, container: str, command: tuple[str, ...], streams: CommandStreams) -> dict[str, Any]:
        try:
            return status.exit_status(command, await self._target.exec(container, command, streams))
        except CortenError as error:
            return status.failure(f"error executing command in container: {error.message}")

    async def _attach(self, container: str, streams: CommandStreams) -> dict[str, Any]:
        try:
            await self._target.attach(container, streams)
        except CortenError as error:
            return status.failure(f"error attaching to container: {error.message}")
        return status.success()

    async def _forward(self, pod: str, port: int, data: Duplex) -> None:
        await self._target.forward(pod, port, data)


def _checked(wanted: Wanted) -> Wanted:
    if wanted.terminal and wanted.stderr:
        raise InvalidArgument("tty and stderr cannot both be true: a terminal has one output")
    if not (wanted.stdin or wanted.stdout or wanted.stderr):
        raise InvalidArgument("one of stdin, stdout, or stderr must be set")
    return wanted
