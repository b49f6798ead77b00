"""The RPC Status."""

from __future__ import annotations

from corten.api.cri.v1 import runtime_pb2 as pb
from corten.wire.service import CallContext, cancellable

from .. import messages
from ..parts import Parts


class NodeStatus:
    """Conditions of the node."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    @cancellable
    async def status(self, request: pb.StatusRequest, call: CallContext) -> pb.StatusResponse:
        network = await self._parts.network.condition()
        conditions = [
            pb.RuntimeCondition(type="RuntimeReady", status=True),
            pb.RuntimeCondition(
                type="NetworkReady", status=network.ready, reason=network.reason, message=network.message
            ),
        ]
        info = {key: messages.text(value) for key, value in self._parts.network.describe().items()}
        return pb.StatusResponse(status=pb.RuntimeStatus(conditions=conditions), info=info if request.verbose else {})
