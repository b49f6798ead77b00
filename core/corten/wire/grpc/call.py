"""A gRPC call as services see it: a `CallContext` that works out nothing before it is asked."""

import time
from collections.abc import Mapping
from typing import Any

from corten.contracts.scope import Scope
from corten.errors import Cancelled

from ..scope import scope_of


class GrpcCall:
    """One call on a connection; `context` is grpc.aio's."""

    __slots__ = ("_context", "_metadata", "client_gone", "method", "stopping")

    def __init__(self, method: str, context: Any) -> None:
        self.method = method
        self.client_gone = False
        self.stopping = False
        self._context = context
        self._metadata: dict[str, str] | None = None

    def __repr__(self) -> str:
        return f"GrpcCall({self.method}{', client gone' if self.client_gone else ''})"

    @property
    def metadata(self) -> Mapping[str, str]:
        """Headers of text; binary ones (`…-bin`) are left out."""
        if self._metadata is None:
            pairs = self._context.invocation_metadata() or ()
            self._metadata = {name: value for name, value in pairs if isinstance(value, str)}
        return self._metadata

    @property
    def peer(self) -> str:
        """As gRPC writes it: `unix:` or `ipv4:127.0.0.1:4444`."""
        return str(self._context.peer())

    @property
    def deadline(self) -> float | None:
        """In seconds of `time.monotonic`."""
        left = self._context.time_remaining()
        return None if left is None else time.monotonic() + left

    def scope(self) -> Scope:
        """Raises FailedPrecondition, InvalidArgument."""
        return scope_of(self.metadata)

    def checkpoint(self) -> None:
        """Raises Cancelled if the client is gone."""
        if self.client_gone:
            raise Cancelled(f"{self.method}: the client went away")
