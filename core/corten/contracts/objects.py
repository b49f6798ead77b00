"""The records that the metadata store keeps besides content and snapshots. Times are nanoseconds since the epoch."""

from collections.abc import Mapping
from dataclasses import field

from corten.values import dataclass

from .descriptor import Descriptor


@dataclass(frozen=True, slots=True)
class AnyValue:
    """A typed blob (google.protobuf.Any) as the client gave it: kept byte for byte, never interpreted here."""

    type_url: str = ""
    value: bytes = b""


@dataclass(frozen=True, slots=True)
class Namespace:
    """A tenant; made when first used, or with labels of its own."""

    name: str
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Image:
    """A name for a target blob: an index or a manifest."""

    name: str
    target: Descriptor
    labels: Mapping[str, str] = field(default_factory=dict)
    created_at: int = 0
    updated_at: int = 0


@dataclass(frozen=True, slots=True)
class RuntimeInfo:
    """Which runtime a container or sandbox wants, with the runtime's own options."""

    name: str = ""
    options: AnyValue | None = None


@dataclass(frozen=True, slots=True)
class Container:
    """What a task is made from; it runs nothing itself. `image` is a name, `spec` the OCI runtime spec as JSON."""

    id: str
    labels: Mapping[str, str] = field(default_factory=dict)
    image: str = ""
    runtime: RuntimeInfo = field(default_factory=RuntimeInfo)
    spec: AnyValue | None = None
    snapshotter: str = ""
    snapshot_key: str = ""
    sandbox: str = ""
    extensions: Mapping[str, AnyValue] = field(default_factory=dict)
    created_at: int = 0
    updated_at: int = 0


@dataclass(frozen=True, slots=True)
class Sandbox:
    """A pod as the store keeps it."""

    id: str
    runtime: RuntimeInfo = field(default_factory=RuntimeInfo)
    spec: AnyValue | None = None
    sandboxer: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    extensions: Mapping[str, AnyValue] = field(default_factory=dict)
    created_at: int = 0
    updated_at: int = 0


@dataclass(frozen=True, slots=True)
class Lease:
    """Keeps its resources from gc until it is deleted or expires (label `containerd.io/gc.expire`, RFC 3339)."""

    id: str
    labels: Mapping[str, str] = field(default_factory=dict)
    created_at: int = 0


@dataclass(frozen=True, slots=True)
class Resource:
    """Something a lease holds. `type` is `content`, `ingests`, `images` or `snapshots/<snapshotter>`."""

    id: str
    type: str
