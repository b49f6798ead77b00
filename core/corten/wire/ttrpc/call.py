"""A ttrpc call as services see it: a `CallContext` over the request's own header."""

import time
from collections.abc import Mapping

from corten.api.ttrpc.request_pb2 import Request
from corten.contracts.scope import Scope
from corten.errors import Cancelled

from ..scope import scope_of


class TtrpcCall:
    """One call on a connection; `peer` is `unix:pid=…,uid=…`."""

    __slots__ = ("client_gone", "deadline", "metadata", "method", "peer")

    def __init__(self, request: Request, peer: str) -> None:
        self.method = f"{request.service}/{request.method}"
        self.metadata: Mapping[str, str] = {pair.key.lower(): pair.value for pair in reversed(request.metadata)}
        self.peer = peer
        timeout = request.timeout_nano
        self.deadline = time.monotonic() + timeout / 1e9 if timeout > 0 else None
        self.client_gone = False

    def __repr__(self) -> str:
        return f"TtrpcCall({self.method}{', client gone' if self.client_gone else ''})"

    def scope(self) -> Scope:
        """Raises FailedPrecondition, InvalidArgument."""
        return scope_of(self.metadata)

    def checkpoint(self) -> None:
        """Raises Cancelled if the client is gone."""
        if self.client_gone:
            raise Cancelled(f"{self.method}: the client went away")
