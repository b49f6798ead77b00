"""The service `Version`: a version that containerd's clients can parse, with Corten's own as the revision."""

import corten
from corten.api.services.version.v1 import version_pb2 as pb
from corten.wire.service import CallContext, cancellable
from google.protobuf.empty_pb2 import Empty


class VersionService:
    """Answers without a namespace."""

    @cancellable
    async def version(self, request: Empty, call: CallContext) -> pb.VersionResponse:
        return pb.VersionResponse(version=corten.CONTAINERD_VERSION, revision=corten.REVISION)
