"""Contract of a differ: layers become file trees (`apply`), and the difference of two trees a layer (`compare`).

Several differs may be there; they are asked in order, and one that does not know a media type or the mounts raises
Unimplemented, so that the next is asked. All methods block; the kernel calls them in the pool `diff`.
`corten.testing.diff` is the conformance suite.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

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
        snapshot, which the caller must remove. `sync_fs` writes the tree to disk before returning.
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
