"""One sandbox behind its shim: calls of containerd.runtime.sandbox.v1.Sandbox, and a watch for its end."""

import asyncio
import sys
from collections.abc import Callable
from typing import TypeVar

from corten.api.runtime.sandbox.v1 import sandbox_pb2 as pb
from corten.contracts.runtime import ShimEndpoint
from corten.contracts.sandboxes import SandboxExit
from corten.errors import NotFound, Unavailable, Unimplemented
from google.protobuf.message import Message

# ruff: noqa: E402  (what is imported below exists on Linux only)
assert sys.platform != "win32"

from ..links import Link, Links

M = TypeVar("M", bound=Message)
SERVICE = "containerd.runtime.sandbox.v1.Sandbox"
SHORT = 10.0
"""Seconds for calls that ask for what the shim knows."""
LONG = 120.0
"""Seconds to create or start a sandbox, which may be a virtual machine."""
STOP_GRACE = 30.0
"""Seconds beyond the time that a stop may take."""


class SandboxShim:
    """The connection to a sandbox's shim; `ended` is set once, with how it ended."""

    def __init__(self, namespace: str, id: str, bundle: str, endpoint: ShimEndpoint, links: Links) -> None:
        self.namespace, self.id, self.bundle, self.endpoint = namespace, id, bundle, endpoint
        self._links = links
        self._link: Link | None = None
        self.ended: asyncio.Future[SandboxExit] = asyncio.get_running_loop().create_future()
        self.started, self.watching = False, False

    def __repr__(self) -> str:
        return f"SandboxShim({self.namespace}/{self.id}, {'ended' if self.ended.done() else self.endpoint.address})"

    async def connect(self, lost: Callable[[], None], timeout: float = SHORT) -> None:
        """Raises Unavailable, also after `timeout` seconds; `lost` is called when the connection breaks."""
        self._link = await self._links.open(self.endpoint, lost, timeout)

    async def disconnect(self) -> None:
        """Let go; the shim goes on."""
        link, self._link = self._link, None
        if link is not None:
            await link.release()

    async def call(self, method: str, request: Message, answer: type[M], timeout: float | None = SHORT) -> M:
        """One call. Raises the shim's errors; Unimplemented in plain words for a shim without the sandbox API."""
        if self._link is None:
            raise Unavailable(f"sandbox {self.id!r}: its shim is not connected")
        try:
            return await self._link.client.call(SERVICE, method, request, answer, timeout=timeout)
        except Unimplemented as error:
            raise Unimplemented(
                f"sandbox {self.id!r}: its shim does not speak the sandbox API ({method}): {error.message}"
            ) from error

    async def stop(self, timeout: float) -> None:
        """End it; one that has ended is no error."""
        request = pb.StopSandboxRequest(sandbox_id=self.id, timeout_secs=round(timeout))
        try:
            await self.call("StopSandbox", request, pb.StopSandboxResponse, timeout + STOP_GRACE)
        except (NotFound, Unavailable):
            return

    async def shut_down(self, timeout: float) -> None:
        """Ask the shim to take everything away, and wait until it has ended. Raises its errors, TimeoutError."""
        await self.call(
            "ShutdownSandbox", pb.ShutdownSandboxRequest(sandbox_id=self.id), pb.ShutdownSandboxResponse, timeout
        )
        if self._link is not None:
            await self._link.client.wait_closed(timeout)

    async def wait(self) -> SandboxExit:
        """Asked of the shim; see `ended` for one answer to all."""
        answer = await self.call(
            "WaitSandbox", pb.WaitSandboxRequest(sandbox_id=self.id), pb.WaitSandboxResponse, timeout=None
        )
        return SandboxExit(answer.exit_status, answer.exited_at.ToNanoseconds())

    def over(self, exit: SandboxExit) -> bool:
        """Tell those who wait; False if they were told before."""
        if self.ended.done():
            return False
        self.ended.set_result(exit)
        return True

    def forgotten(self) -> None:
        """It is shut down without ever having ended."""
        if not self.ended.done():
            self.ended.set_exception(NotFound(f"sandbox {self.id!r}: it was shut down"))
            self.ended.exception()  # nobody may be waiting
