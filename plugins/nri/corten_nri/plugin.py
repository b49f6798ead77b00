"""A connected plugin: registered, configured and told the state of things, then asked at each point it wants."""

import asyncio
import logging
import socket
import sys
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from corten import CONTAINERD_VERSION
from corten.api.nri.v1alpha1 import nri_pb2 as pb
from corten.errors import CortenError, DeadlineExceeded, FailedPrecondition, InvalidArgument, Unavailable, Unimplemented
from corten.supervisor import Supervisor
from corten.wire.service import CallContext
from google.protobuf.message import Message

from . import names
from .config import NriConfig
from .figures import Figures
from .splitting import split

# ruff: noqa: E402  (what is imported below exists on Unix only)
assert sys.platform != "win32"

from .connection import Connection

M = TypeVar("M", bound=Message)
Unsolicited = Callable[[str, pb.UpdateContainersRequest], Awaitable[pb.UpdateContainersResponse]]
"""What is done when a plugin wants other containers updated by itself; the text is the plugin's name."""

log = logging.getLogger(__name__)

ALL = (1 << (pb.LAST - 1)) - 1
"""The mask of all events."""
NRI_VERSION = "v0.12.0"
REFUSAL = 0.1
"""Seconds in which a plugin that is refused may read why, before it is hung up on."""


class Plugin:
    """Used on the event loop. `index` and `base` are known from the start of one that the daemon started itself."""

    def __init__(
        self,
        config: NriConfig,
        supervisor: Supervisor,
        unsolicited: Unsolicited,
        figures: Figures,
        index: str = "",
        base: str = "",
    ) -> None:
        self._config = config
        self._figures = figures
        self._unsolicited = unsolicited
        self._launched = bool(base)
        self._connection = Connection(self, supervisor, self._lost)
        self._registered: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._events = 0
        self._dedicated = True
        self.index, self.base = index, base
        self.ended = asyncio.Event()

    def __repr__(self) -> str:
        return f"Plugin({self.name}{', ended' if self.closed else ''})"

    @property
    def name(self) -> str:
        return f"{self.index}-{self.base}" if self.base else f"unregistered {self._connection.peer}"

    @property
    def closed(self) -> bool:
        return self.ended.is_set()

    def wants(self, event: int) -> bool:
        """Whether it subscribed."""
        return bool(self._events >> (event - 1) & 1) and not self.closed

    async def begin(self, sock: socket.socket, settings: str = "") -> None:
        """Connect, wait for its registration, configure it. Raises what goes wrong; it is closed then."""
        try:
            await self._connection.open(sock)
            await self._wait_registered()
            await self._configure(settings)
        except BaseException:
            self.close()
            raise

    async def synchronize(
        self, pods: Sequence[pb.PodSandbox], containers: Sequence[pb.Container]
    ) -> list[pb.ContainerUpdate]:
        """Tell it everything there is; returns what it wants changed. Raises as `ask`; it is closed then."""
        try:
            answer = pb.SynchronizeResponse()
            for request in split(pods, containers):
                answer = await self._call("Synchronize", request, pb.SynchronizeResponse, self._registration)
                if request.more and (answer.update or not answer.more):
                    raise FailedPrecondition(f"NRI plugin {self.name}: it cannot be told the state of things in parts")
            return list(answer.update)
        except BaseException:
            self.close()
            raise

    async def ask(self, event: int, request: Message, answer: type[M]) -> M | None:
        """Its answer; None if it does not want to be asked, has gone, or is cut off for not answering.

        Raises what it answers.
        """
        if not self.wants(event):
            return None
        method = type(request).__name__.removesuffix("Request")
        try:
            return await self._call(method, request, answer)
        except DeadlineExceeded as error:
            log.error("%s; it is cut off", error)
        except Unavailable as error:
            if not self._connection.closed:
                raise
            log.error("NRI plugin %s: it went away during %s: %s", self.name, method, error)
        self.close()
        return None

    async def tell(self, event: int, request: Message, answer: type[Message]) -> bool:
        """As `ask`; plugins of before version 0.12 have one call for all such events: true if it was told by that."""
        if self._dedicated:
            try:
                await self.ask(event, request, answer)
                return False
            except Unimplemented:
                self._dedicated = False
                log.warning("NRI plugin %s: it has no calls of their own for events", self.name)
        if not self.wants(event):
            return False
        change = pb.StateChangeEvent(event=event, pod=request.pod)  # type: ignore[attr-defined, arg-type]
        if "container" in request.DESCRIPTOR.fields_by_name:
            change.container.CopyFrom(request.container)  # type: ignore[attr-defined]
        await self._cut_off(change)
        return True

    async def register_plugin(self, request: pb.RegisterPluginRequest, call: CallContext) -> pb.Empty:
        """The plugin's first call; its name counts only if the daemon did not start it by one."""
        if self._registered.done():
            raise FailedPrecondition(f"NRI plugin {self.name}: it is registered already")
        if not self._launched:
            try:
                names.checked(request.plugin_idx, request.plugin_name)
            except CortenError as error:
                asyncio.get_running_loop().call_later(REFUSAL, self._refuse, error)
                raise
            self.index, self.base = request.plugin_idx, request.plugin_name
        self._registered.set_result(None)
        return pb.Empty()

    async def update_containers(
        self, request: pb.UpdateContainersRequest, call: CallContext
    ) -> pb.UpdateContainersResponse:
        """The plugin wants something by itself."""
        return await self._unsolicited(self.name, request)

    def close(self) -> None:
        """Cut it off."""
        self._connection.close()
        self._end()

    async def _wait_registered(self) -> None:
        timeout = self._config.plugin_registration_timeout
        try:
            await asyncio.wait_for(asyncio.shield(self._registered), timeout)
        except TimeoutError:
            raise DeadlineExceeded(f"NRI plugin {self.name}: it did not register within {timeout:g} s") from None

    async def _configure(self, settings: str) -> None:
        request = pb.ConfigureRequest(
            config=settings,
            runtime_name="containerd",
            runtime_version=CONTAINERD_VERSION,
            registration_timeout=int(self._config.plugin_registration_timeout * 1000),
            request_timeout=int(self._config.plugin_request_timeout * 1000),
            NRI_version=NRI_VERSION,
        )
        events = (await self._call("Configure", request, pb.ConfigureResponse)).events
        if events & ~ALL:
            raise InvalidArgument(f"NRI plugin {self.name}: it subscribes to events that do not exist: {events:#x}")
        self._events = events or ALL

    async def _cut_off(self, change: pb.StateChangeEvent) -> None:
        try:
            await self._call("StateChange", change, pb.Empty)
        except (DeadlineExceeded, Unavailable) as error:
            log.error("%s; it is cut off", error)
            self.close()

    @property
    def _registration(self) -> float:
        """Being told the state of things is part of registering, and may take as long."""
        return max(self._config.plugin_registration_timeout, self._config.plugin_request_timeout)

    async def _call(self, method: str, request: Message, answer: type[M], timeout: float | None = None) -> M:
        timeout = timeout or self._config.plugin_request_timeout
        try:
            with self._figures.call(self.name, method):
                answered = await self._connection.call(method, request, answer, timeout)
        except CortenError as error:
            raise type(error)(f"NRI plugin {self.name}: {method}: {error.message}") from error
        updates, evictions = getattr(answered, "update", ()), getattr(answered, "evict", ())
        self._figures.wanted(self.name, method, len(updates), len(evictions))
        return answered

    def _refuse(self, error: CortenError) -> None:
        if not self._registered.done():
            self._registered.set_exception(error)

    def _lost(self, reason: CortenError | None) -> None:
        if not self.closed and self.base:
            log.info("NRI plugin %s: its connection has ended%s", self.name, f": {reason}" if reason else "")
        self._end()

    def _end(self) -> None:
        self.ended.set()
        if not self._registered.done():
            self._registered.set_exception(Unavailable(f"NRI plugin {self.name}: it went before it registered"))
            self._registered.exception()
