"""Contract of the metadata store: what exists in which namespace, and what refers to what.

Reads never block on writers. Writes return when they are durable. Every write that succeeds publishes its event.
`content(scope)` and `snapshotter(scope, name)` are the namespace's views of the plugins behind them: the same
contracts, with isolation, labels and leases added. Methods block (a write waits for the group commit): call them in a
pool. Only the look-ups of one record by its name, `get` of namespaces, containers and images and `info` of
`content(scope)`, are so short that they are called on the event loop: an implementation does no more there than look.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

from .content import ContentStore
from .gc import GcStats
from .leases import LeaseStore
from .objects import Container, Image, Namespace
from .sandboxes import SandboxStore
from .scope import Scope
from .snapshots import Snapshotter


class NamespaceStore(Protocol):
    """Namespaces and their labels."""

    def create(self, namespace: Namespace) -> Namespace:
        """Raises AlreadyExists, InvalidArgument."""
        ...

    def get(self, name: str) -> Namespace:
        """A namespace that does not exist yet has no labels: clients ask before they make anything in it."""
        ...

    def update(self, namespace: Namespace, fieldpaths: Sequence[str] = ()) -> Namespace:
        """Makes the namespace if need be. Raises InvalidArgument for a path other than `labels` and `labels.KEY`."""
        ...

    def delete(self, name: str) -> None:
        """Raises NotFound, FailedPrecondition while anything is in it (the message says what)."""
        ...

    def list(self) -> Sequence[Namespace]: ...


class ContainerStore(Protocol):
    """Containers of one scope."""

    def create(self, container: Container) -> Container:
        """Raises AlreadyExists, InvalidArgument."""
        ...

    def get(self, id: str) -> Container:
        """Raises NotFound."""
        ...

    def update(self, container: Container, fieldpaths: Sequence[str] = ()) -> Container:
        """With no fieldpaths everything but the immutable fields (id, runtime name, snapshotter, created_at).

        Raises NotFound, InvalidArgument for an unknown path or a changed immutable field.
        """
        ...

    def delete(self, id: str) -> None:
        """Raises NotFound."""
        ...

    def walk(self, filters: Sequence[str] = ()) -> Iterator[Container]:
        """In the order of ids, read in pages: memory does not grow with their number.

        Filter fields: id, image, labels, and those of containerd.
        """
        ...


class ImageStore(Protocol):
    """Images of one scope."""

    def create(self, image: Image, *, source_date_epoch: int | None = None) -> Image:
        """`source_date_epoch` (ns) replaces the time of creation. Raises AlreadyExists, InvalidArgument."""
        ...

    def get(self, name: str) -> Image:
        """Raises NotFound."""
        ...

    def update(self, image: Image, fieldpaths: Sequence[str] = (), *, source_date_epoch: int | None = None) -> Image:
        """Paths: labels, labels.KEY, target, annotations. Raises NotFound, InvalidArgument."""
        ...

    def delete(self, name: str, *, target_digest: str = "") -> None:
        """With a digest, only if the image still points there. Raises NotFound."""
        ...

    def walk(self, filters: Sequence[str] = ()) -> Iterator[Image]:
        """In the order of names. Filter fields: name, target.digest, target.mediatype, labels, annotations."""
        ...


class Metadata(Protocol):
    """The store itself (`io.containerd.metadata.v1.lmdb`)."""

    @property
    def namespaces(self) -> NamespaceStore: ...
    @property
    def leases(self) -> LeaseStore: ...
    @property
    def sandboxes(self) -> SandboxStore: ...
    def containers(self, scope: Scope) -> ContainerStore: ...
    def images(self, scope: Scope) -> ImageStore: ...
    def content(self, scope: Scope) -> ContentStore: ...
    def snapshotter(self, scope: Scope, name: str) -> Snapshotter:
        """Raises InvalidArgument for an unknown name; that plugin's own error for one that failed to start."""
        ...

    def snapshotters(self) -> Mapping[str, Snapshotter]:
        """The snapshotter plugins behind, by id."""
        ...

    def collect(self) -> GcStats:
        """Mark and sweep now. Called by the gc scheduler only: others ask that."""
        ...
