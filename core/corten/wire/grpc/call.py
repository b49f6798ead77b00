"""A gRPC call as services see it: a `CallContext` that stays usable after the call has ended."""

import time
from collections.abc import Mapping
from typing import Any

from corten.contracts.scope import Scope
from corten.errors import Cancelled

from ..scope import scope_of


class GrpcCall:
    """One call on a connection; `context` is grpc.aio's, and None once the call has ended.

    An operation may outlive its call, and grpc crashes the process when a context is touched that late: what services
    may ask for is taken at the start, and whoever needs the context looks here whether there still is one.
    """

    __slots__ = ("_metadata", "_pairs", "client_gone", "context", "deadline", "method", "peer", "stopping")

    def __init__(self, method: str, context: Any) -> None:
        self.method = method
        self.context: Any = context
        self.client_gone = False
        self.stopping = False
        self.peer = str(context.peer())
        left = context.time_remaining()
        self.deadline = None if left is None else time.monotonic() + left
        self._pairs = context.invocation_metadata() or ()
        self._metadata: Mapping[str, str] | None = None

    def __repr__(self) -> str:
        return f"GrpcCall({self.method}{', client gone' if self.client_gone else ''})"

    @property
    def metadata(self) -> Mapping[str, str]:
        """Headers of text; binary ones (`…-bin`) are left out.

        Of a header that comes several times the first counts: clients of containerd put the namespace and the lease of
        an inner step before those of the outer one.
        """
        if self._metadata is None:
            self._metadata = {name: value for name, value in reversed(self._pairs) if isinstance(value, str)}
        return self._metadata

    def scope(self) -> Scope:
        """Raises FailedPrecondition, InvalidArgument."""
        return scope_of(self.metadata)

    def checkpoint(self) -> None:
        """Raises Cancelled if the client is gone."""
        if self.client_gone:
            raise Cancelled(f"{self.method}: the client went away")
