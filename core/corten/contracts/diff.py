"""Contract of a differ: layers become file trees (`apply`), and the difference of two trees a layer (`compare`).

Several differs may be there; they are asked in order, and one that does not know a media type or the mounts raises
Unimplemented, so that the next is asked. All methods block; the kernel calls them in the pool `diff`.

Mounts that are one overlay with an `upperdir` and no `lowerdir` mean: the layer is for an overlay whose lower layers
are not there yet. Marks of removal become overlayfs's own, and what is written depends on nothing below.

`corten.testing.diff` is the conformance suite.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol, runtime_checkable

from corten.values import dataclass

from .content import ContentStore
from .descriptor import Descriptor
from .mounts import Mount

Progress = Callable[[int], None]
"""Called now and then with the number of compressed bytes read so far, from any thread."""


class Differ(Protocol):
    """Blobs are read from and written to the `content` that is passed: the caller's view of the store."""

    def apply(
        self,
        layer: Descriptor,
        mounts: Sequence[Mount],
        content: ContentStore,
        *,
        payloads: Mapping[str, bytes] | None = None,
        sync_fs: bool = False,
        progress: Progress | None = None,
    ) -> Descriptor:
        """Unpack `layer` into the tree at `mounts`; returns media type, digest and size of the uncompressed tar.

        A layer whose bytes do not match its digest is refused; what was written of it until then stays in the
        snapshot, which the caller must remove. `sync_fs` writes the tree to disk before returning; `payloads` are for
        stream processors by their ids, each a `google.protobuf.Any`.
        Raises Unimplemented, NotFound for the blob, InvalidArgument for a malformed or hostile layer, DataLoss for
        a blob that does not match its digest.
        """
        ...

    def compare(
        self,
        lower: Sequence[Mount],
        upper: Sequence[Mount],
        content: ContentStore,
        *,
        media_type: str = "",
        ref: str = "",
        labels: Mapping[str, str] | None = None,
        source_date_epoch: int | None = None,
    ) -> Descriptor:
        """Write to `content` the layer that turns the tree at `lower` into the one at `upper`.

        The same trees give the same bytes. An empty media type means the OCI gzip layer; an empty ref is made up.
        `source_date_epoch`, in seconds, caps the times of entries. The blob gets `labels` and the label
        `containerd.io/uncompressed` with its diff id. Raises Unimplemented for a media type it does not write.
        """
        ...


@runtime_checkable
class Arriving(Protocol):
    """A layer on its way into the content store, readable as far as it has come."""

    def follow(self) -> tuple[int, int]:
        """Two descriptors that the caller closes: the file that grows, and a pipe that says so.

        The pipe is readable when the file has grown, and ends when it grows no more: either all is there, or the rest
        is not coming. Whoever writes the blob checks its digest: until that is done, what was unpacked is not to be
        trusted. Raises Unavailable if it is not on its way any more.
        """
        ...


@dataclass(frozen=True, slots=True)
class Unpacked:
    """Media type, digest and size of the uncompressed tar, and what the differ assumed of the layers below.

    `assumed` is the differ's own language, for its `settle`; empty: nothing was.
    """

    layer: Descriptor
    assumed: bytes = b""


@runtime_checkable
class StreamDiffer(Protocol):
    """What a differ has in addition if it unpacks a layer while that arrives, and before those below are there."""

    def unpack(
        self,
        layer: Descriptor,
        mounts: Sequence[Mount],
        source: Arriving | ContentStore,
        *,
        payloads: Mapping[str, bytes] | None = None,
        progress: Progress | None = None,
    ) -> Unpacked:
        """As `Differ.apply`, from a blob in the store or one on its way there.

        Raises what `apply` raises, Unavailable when the rest of the blob is not coming, and FailedPrecondition for a
        layer that cannot be unpacked without those below (a hard link to a file of theirs, say).
        """
        ...

    def settle(self, stack: Sequence[tuple[Sequence[Mount], bytes]]) -> None:
        """Put right what was assumed, once all layers are there.

        `stack` has the mounts and `Unpacked.assumed` of layers that lie on each other, lowest first; the mounts of the
        first say what lies below it. Raises FailedPrecondition if an assumption was wrong beyond repair, so that the
        layers above the first must be unpacked anew, each on its parent.
        """
        ...
