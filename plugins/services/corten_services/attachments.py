"""The service `Attachments`, Corten's own: joining running processes that keep a log, and opening logs anew."""

from corten.api.services.attachments.v1 import attachments_pb2 as pb
from corten.contracts.runtime import Runtime, Stdio
from corten.errors import InvalidArgument
from corten.wire.service import CallContext
from google.protobuf.empty_pb2 import Empty


class AttachmentsService:
    """A thin layer over the runtime."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    async def attach(self, request: pb.AttachRequest, call: CallContext) -> Empty:
        task = await self._runtime.get(call.scope().namespace, _id(request.container_id))
        stdio = Stdio(request.stdin, request.stdout, request.stderr)
        await task.attach(stdio, request.exec_id, holds_up=request.holds_up)
        return Empty()

    async def reopen_log(self, request: pb.ReopenLogRequest, call: CallContext) -> Empty:
        task = await self._runtime.get(call.scope().namespace, _id(request.container_id))
        await task.reopen_log()
        return Empty()


def _id(id: str) -> str:
    if not id:
        raise InvalidArgument("container_id is empty: say which container")
    return id
