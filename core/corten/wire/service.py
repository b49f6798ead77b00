"""RPC services as plain objects: async functions over messages and a `CallContext`, the same for gRPC and ttrpc.

A service is a protobuf service descriptor and an object with a method in snake_case for each RPC (`ListPids` is
`list_pids`, `CloseIO` is `close_io`). By the descriptor's streaming marks a method is one of

    async def get(self, request, call) -> Response
    def list(self, request, call) -> AsyncIterator[Response]              # server streaming: an async generator
    async def put(self, requests: AsyncIterator[Request], call) -> Response
    def write(self, requests: AsyncIterator[Request], call) -> AsyncIterator[Response]

A unary call that has begun runs to its end even when its client goes away, so that nothing is left half done; reads
and waits are marked `@cancellable` and are cancelled at once. A server stream is cancelled where it waits, and closed
(`aclose`). A stream of requests is not cancelled while it works, unless marked: its next request raises Cancelled, and
at its next reply it is closed. The table of this is in `corten.wire.running`.
An RPC that the object has no method for answers Unimplemented.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, TypeVar

from google.protobuf.descriptor import ServiceDescriptor

from corten.contracts.scope import Scope
from corten.values import dataclass

F = TypeVar("F", bound=Callable[..., Any])


class CallContext(Protocol):
    """One call as the service sees it."""

    @property
    def method(self) -> str:
        """`package.Service/Method`."""

    @property
    def metadata(self) -> Mapping[str, str]:
        """Headers, names in lower case; the last value of each."""

    @property
    def peer(self) -> str: ...
    @property
    def deadline(self) -> float | None:
        """When the client stops waiting, in seconds of `time.monotonic`; None for never."""

    @property
    def client_gone(self) -> bool: ...
    def scope(self) -> Scope:
        """Namespace and lease of the call.

        Raises FailedPrecondition without a namespace header, InvalidArgument for a malformed one.
        """
        ...

    def checkpoint(self) -> None:
        """A named point at which a mutating call may stop: raises Cancelled if the client is gone."""
        ...


@dataclass(frozen=True, slots=True)
class Service:
    """A service to be served: what it is on the wire, and who does it."""

    descriptor: ServiceDescriptor
    implementation: object

    @property
    def name(self) -> str:
        return str(self.descriptor.full_name)


class ServiceProvider(Protocol):
    """What a plugin of type `grpc.v1` or `ttrpc.v1` is."""

    @property
    def services(self) -> Sequence[Service]: ...


def cancellable(method: F) -> F:
    """Mark a method that only reads or waits: it is cancelled when its client goes away."""
    method.__corten_cancellable__ = True  # type: ignore[attr-defined]
    return method


def is_cancellable(method: Callable[..., Any]) -> bool:
    """Whether `cancellable` was applied."""
    return getattr(method, "__corten_cancellable__", False)
