"""Where tasks of a sandbox go: the shims of sandboxes by namespace and id, and addresses that clients give."""

from dataclasses import dataclass, field

from corten.contracts.runtime import ShimEndpoint
from corten.errors import InvalidArgument, Unimplemented
from corten.wire import virtual

PROTOCOLS = ("ttrpc", "grpc")
TASKS_SINCE = 3
"""The version of the shim API from which on a sandbox's shim takes tasks; older ones want a shim for each."""


@dataclass(slots=True)
class Endpoints:
    """Filled by the controller, asked for each task; to be used on the event loop."""

    _known: dict[tuple[str, str], ShimEndpoint] = field(default_factory=dict)

    def put(self, namespace: str, id: str, endpoint: ShimEndpoint) -> None:
        self._known[namespace, id] = endpoint

    def forget(self, namespace: str, id: str) -> None:
        self._known.pop((namespace, id), None)

    def find(self, namespace: str, id: str) -> ShimEndpoint | None:
        """That of a sandbox which takes tasks itself."""
        endpoint = self._known.get((namespace, id))
        return endpoint if endpoint is not None and endpoint.version >= TASKS_SINCE else None


def url(endpoint: ShimEndpoint) -> str:
    """As the sandbox API writes it: `ttrpc+unix:///run/…`."""
    address = endpoint.address if "://" in endpoint.address else f"unix://{endpoint.address}"
    return f"{endpoint.protocol}+{address}"


def require_ttrpc(protocol: str, address: str, what: str) -> None:
    """Into virtual machines only ttrpc is spoken. Raises InvalidArgument for a malformed address, Unimplemented."""
    try:
        virtual.parse(address)
    except InvalidArgument as error:
        raise InvalidArgument(f"{what}: {error.message}") from None
    if protocol != "ttrpc":
        raise Unimplemented(f"{what}: gRPC is spoken over unix sockets alone (ttrpc over vsock, too)")


def parsed(address: str, version: int) -> ShimEndpoint:
    """The reverse of `url`. Raises InvalidArgument for a protocol or a kind of socket that is not spoken here."""
    protocol, plus, rest = address.partition("+")
    if not plus or protocol not in PROTOCOLS or not rest.startswith(("unix://", *virtual.SCHEMES)):
        raise InvalidArgument(
            f"task address {address!r}: none of ttrpc+unix://PATH, ttrpc+vsock://CID:PORT, ttrpc+hvsock://PATH:PORT "
            "and grpc+unix://PATH"
        )
    if not rest.startswith("unix://"):
        require_ttrpc(protocol, rest, f"task address {address!r}")
    return ShimEndpoint(rest, version or TASKS_SINCE, protocol)
