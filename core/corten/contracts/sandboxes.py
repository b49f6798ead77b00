"""Contract of the sandbox store, for all namespaces."""

from collections.abc import Sequence
from typing import Protocol

from .objects import Sandbox


class SandboxStore(Protocol):
    """Methods block."""

    def create(self, namespace: str, sandbox: Sandbox) -> Sandbox:
        """Raises AlreadyExists, InvalidArgument."""
        ...

    def get(self, namespace: str, id: str) -> Sandbox:
        """Raises NotFound."""
        ...

    def update(self, namespace: str, sandbox: Sandbox, fieldpaths: Sequence[str] = ()) -> Sandbox:
        """Fields: labels, extensions, spec, runtime (with sub-paths `labels.K`, `extensions.K`). Raises NotFound."""
        ...

    def delete(self, namespace: str, id: str) -> None:
        """Raises NotFound."""
        ...

    def list(self, namespace: str, filters: Sequence[str] = ()) -> Sequence[Sandbox]: ...
