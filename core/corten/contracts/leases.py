"""Contract of the lease store, for all namespaces."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from .objects import Lease, Resource


class LeaseStore(Protocol):
    """Methods block; every one but `create` and `list` raises NotFound for a lease that does not exist."""

    def create(self, namespace: str, id: str = "", labels: Mapping[str, str] | None = None) -> Lease:
        """An empty id is made up. Raises AlreadyExists, InvalidArgument."""
        ...

    def get(self, namespace: str, id: str) -> Lease: ...
    def delete(self, namespace: str, id: str, *, sync: bool = False) -> None:
        """`sync`: return after a gc that began later than the deletion."""
        ...

    def list(self, namespace: str, filters: Sequence[str] = ()) -> Sequence[Lease]: ...
    def add(self, namespace: str, id: str, resource: Resource) -> None:
        """Raises InvalidArgument for a resource type that does not exist. The resource need not exist yet."""
        ...

    def remove(self, namespace: str, id: str, resource: Resource) -> None: ...
    def resources(self, namespace: str, id: str) -> Sequence[Resource]: ...
