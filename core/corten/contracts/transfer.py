"""Contract of transfers: images moved between registries, the store and archives, inside the daemon.

A transfer has a source and a destination, each one of the classes below; a transferer that does not know the pair
raises Unimplemented, so that the next is asked. Registry to store is a pull, store to registry a push, store to store
a tag (and an unpack, if the destination asks for one), archive to store an import, store to archive an
export, store to `ConvertedImage` a conversion.

    await transferer.transfer(scope, RegistryImage("docker.io/library/busybox:latest"),
                              StoreImage("docker.io/library/busybox:latest", platforms=(host,)), show)

Everything runs on the event loop; a cancelled transfer leaves ingests, which the next one resumes, and no record.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import field
from typing import Protocol, runtime_checkable

from corten.platforms import Platform
from corten.values import dataclass

from .descriptor import Descriptor
from .scope import Scope


@dataclass(frozen=True, slots=True)
class Login:
    """Credentials for a host: user and secret; with no user the secret is a refresh token; or a ready header."""

    username: str = ""
    secret: str = field(default="", repr=False)
    header: str = field(default="", repr=False)


AskLogin = Callable[[str, str, Sequence[str]], Awaitable[Login | None]]
"""`await ask(host, reference, challenges)`; None to go on unnamed."""


class ByteReader(Protocol):
    """Bytes that come from the client."""

    async def read(self) -> bytes:
        """The next bytes; empty at the end. Raises Cancelled when the client went away instead."""
        ...


class ByteWriter(Protocol):
    """Bytes that go to the client."""

    async def write(self, data: bytes) -> None:
        """Waits until the client takes them. Raises Unavailable when it takes no more."""
        ...

    async def close(self) -> None:
        """The end of the bytes."""
        ...


@dataclass(frozen=True, slots=True)
class RegistryImage:
    """An image in a registry; `host_dir` are host directories, `scheme` what is spoken where none is configured.

    `dump` gets a line for each header of each request and answer, without secrets. `referrers`: what refers to the
    image goes with it, of these artifact types or, if none is named, of any; with None it does not.
    """

    reference: str
    headers: Mapping[str, str] = field(default_factory=dict)
    host_dir: str = ""
    scheme: str = ""
    ask: AskLogin | None = None
    dump: "ByteWriter | None" = None
    referrers: tuple[str, ...] | None = None

    def __str__(self) -> str:
        return f"OCI Registry ({self.reference})"


@dataclass(frozen=True, slots=True)
class Reference:
    """A further name; the four switches are of prefixes, to which an archive's own tags and digests are added.

    Beyond containerd, a prefix with a tag is the whole name of an image that has no name in the archive, or only a tag.
    `allow_overwrite`: a whole name in the archive counts also if it does not begin with the prefix.
    `add_digest`: `NAME@DIGEST` too; `skip_named_digest`: only for images that got no other name.
    """

    name: str
    is_prefix: bool = False
    allow_overwrite: bool = False
    add_digest: bool = False
    skip_named_digest: bool = False


@dataclass(frozen=True, slots=True)
class Unpack:
    """Unpack the image for `platform` (None: the host's) with a snapshotter; empty: the default one."""

    platform: Platform | None = None
    snapshotter: str = ""


@dataclass(frozen=True, slots=True)
class StoreImage:
    """Images of the store. No platforms means all; `manifest_limit` 0 no limit.

    `all_metadata`: manifests and configs of the other platforms too.
    """

    name: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    platforms: tuple[Platform, ...] = ()
    all_metadata: bool = False
    manifest_limit: int = 0
    references: tuple[Reference, ...] = ()
    unpacks: tuple[Unpack, ...] = ()

    def __str__(self) -> str:
        return f"Local Image Store ({self.name})"


@dataclass(frozen=True, slots=True)
class SingleImage:
    """Of an image of the store that is for several platforms, the one for this, as if it stood alone."""

    store: StoreImage
    platform: Platform


@dataclass(frozen=True, slots=True)
class ImportArchive:
    """A tar archive of images that the client sends."""

    stream: ByteReader
    media_type: str = ""
    force_compress: bool = False


@dataclass(frozen=True, slots=True)
class ExportArchive:
    """A tar archive of images for the client; no platforms means the host's."""

    stream: ByteWriter
    media_type: str = ""
    platforms: tuple[Platform, ...] = ()
    all_platforms: bool = False
    skip_compatibility_manifest: bool = False
    skip_non_distributable: bool = False


WARNING = "Warning"
"""How an event begins that is for people to read: what a registry warns of."""


@dataclass(frozen=True, slots=True)
class TransferProgress:
    """Something happened: with `name` to one item below its `parents`, else to the whole."""

    event: str
    name: str = ""
    parents: tuple[str, ...] = ()
    progress: int = 0
    total: int = 0
    descriptor: Descriptor | None = None


@dataclass(frozen=True, slots=True)
class ConvertedImage:
    """The image of the source written otherwise, under the names of `store`; its `platforms` alone if it names some.

    `compression` of the layers is `none`, `gzip`, `zstd` or empty, which leaves them; `oci`: with OCI's media types.
    """

    store: StoreImage
    compression: str = ""
    oci: bool = False


@dataclass(frozen=True, slots=True)
class TransferState:
    """A transfer under way: `done` of `total` bytes and `items_done` of `items` blobs, as far as they are known.

    `kind` is pull, push, import, export, tag or convert; `event` the last one of the whole; `started_at` in nanoseconds
    since the epoch.
    """

    id: int
    namespace: str
    kind: str
    image: str
    started_at: int
    event: str = ""
    done: int = 0
    total: int = 0
    items_done: int = 0
    items: int = 0


@dataclass(frozen=True, slots=True)
class TransferTotals:
    """Of the transfers of one kind that ended since the daemon began; `bytes` of blobs that were moved."""

    kind: str
    completed: int = 0
    failed: int = 0
    bytes: int = 0


ShowTransfer = Callable[[TransferProgress], None]
"""Called on the event loop, often; must not block."""


class Transferer(Protocol):
    """What a plugin of type `io.containerd.transfer.v1` is."""

    async def transfer(self, scope: Scope, source: object, destination: object, show: ShowTransfer) -> None:
        """Raises Unimplemented for a pair that it does not know, and what the parts of the transfer raise."""
        ...


@runtime_checkable
class ReadiesPulls(Protocol):
    """What a transferer may offer besides: to have everything at hand before the first pull."""

    def ready_pulls(self) -> None:
        """Import what a pull needs; blocks, in any thread. From then on one may be made while the package changes."""
        ...


@runtime_checkable
class TellsTransfers(Protocol):
    """What a transferer may offer besides: what it is at, for others than the client that began it."""

    def under_way(self) -> Sequence[TransferState]:
        """The transfers that have begun and not ended, in the order of their beginning."""
        ...

    def totals(self) -> Sequence[TransferTotals]:
        """One for each kind that there was."""
        ...
