"""The headers by which a call says for whom it acts.

containerd's clients send the namespace as `containerd-namespace` over gRPC and as `containerd-namespace-ttrpc` over
ttrpc, and the lease as `containerd-lease`.
"""

from collections.abc import Mapping
from functools import lru_cache

from corten import identifiers
from corten.contracts.scope import Scope
from corten.errors import FailedPrecondition, InvalidArgument

NAMESPACE = "containerd-namespace"
NAMESPACE_TTRPC = "containerd-namespace-ttrpc"
LEASE = "containerd-lease"
MAX_LEASE = 1024
"""Characters of a lease id in a header."""


def scope_of(metadata: Mapping[str, str]) -> Scope:
    """Namespace and lease out of a call's headers.

    Raises FailedPrecondition without a namespace, InvalidArgument for a malformed namespace or lease.
    """
    namespace = metadata.get(NAMESPACE) or metadata.get(NAMESPACE_TTRPC) or ""
    if not namespace:
        raise FailedPrecondition(f"namespace is required: the call has no header {NAMESPACE}")
    return _scope(namespace, metadata.get(LEASE, ""))


@lru_cache(256)
def _scope(namespace: str, lease: str) -> Scope:
    identifiers.validate(namespace, "namespace")
    return Scope(namespace, _lease(lease))


def headers(scope: Scope) -> dict[str, str]:
    """The headers that a client of either transport sends for `scope`."""
    names = {NAMESPACE: scope.namespace, NAMESPACE_TTRPC: scope.namespace}
    return {**names, LEASE: scope.lease} if scope.lease else names


def _lease(lease: str) -> str:
    # Not an identifier: clients make ids that end in base64url, so `-` and `_` may come last or doubled.
    if len(lease) > MAX_LEASE or not lease.isprintable():
        raise InvalidArgument(f"lease {lease[:64]!r} in header {LEASE}: over {MAX_LEASE} characters or not printable")
    return lease
