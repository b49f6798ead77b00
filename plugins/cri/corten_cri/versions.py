"""The RPC Version."""

from corten.api.cri.v1 import runtime_pb2 as pb
from corten.wire.service import CallContext, cancellable

API = "v1"


class Versions:
    """Which CRI is spoken, and by whom."""

    def __init__(self, runtime_version: str) -> None:
        self._version = runtime_version

    @cancellable
    async def version(self, request: pb.VersionRequest, call: CallContext) -> pb.VersionResponse:
        """The runtime's name is containerd's, because tools look at it."""
        return pb.VersionResponse(
            version="0.1.0", runtime_name="containerd", runtime_version=self._version, runtime_api_version=API
        )
