"""Corten's own service `Attachments`: joining processes that keep a log. Other daemons do not have it."""

from corten.api.services.attachments.v1 import attachments_pb2 as pb
from corten.contracts.runtime import Stdio
from corten.plugin.types import GRPC

from .calls import Calls, methods

_RPC = methods(pb, "Attachments")
_FILTER = f'type=="{GRPC}",id=="attachments"'


class Attachments:
    """Errors as `corten.contracts.runtime.Task.attach` and `reopen_log`."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    async def offered(self) -> bool:
        """Whether the daemon has it, and so knows logs that can be joined."""
        from .introspection import Introspection

        return any(plugin.error is None for plugin in await Introspection(self._calls).plugins([_FILTER]))

    async def attach(self, id: str, stdio: Stdio, exec_id: str = "", *, holds_up: bool = False) -> None:
        request = pb.AttachRequest(
            container_id=id,
            exec_id=exec_id,
            stdin=stdio.stdin,
            stdout=stdio.stdout,
            stderr=stdio.stderr,
            holds_up=holds_up,
        )
        await self._calls.unary(_RPC["Attach"], request)

    async def reopen_log(self, id: str) -> None:
        await self._calls.unary(_RPC["ReopenLog"], pb.ReopenLogRequest(container_id=id))
