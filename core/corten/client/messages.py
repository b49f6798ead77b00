"""Contract values to protobuf messages and back. Times are nanoseconds since the epoch; 0 stands for none."""

from collections.abc import Iterable, Mapping
from typing import Any

from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.timestamp_pb2 import Timestamp

from corten.api.services.containers.v1 import containers_pb2
from corten.api.services.content.v1 import content_pb2
from corten.api.services.images.v1 import images_pb2
from corten.api.services.snapshots.v1 import snapshots_pb2
from corten.api.types import descriptor_pb2, mount_pb2
from corten.api.types.task import task_pb2
from corten.contracts.content import ContentInfo, IngestStatus
from corten.contracts.descriptor import Descriptor
from corten.contracts.mounts import Mount
from corten.contracts.objects import AnyValue, Container, Image, RuntimeInfo
from corten.contracts.runtime import ProcessState, Status, Stdio
from corten.contracts.snapshots import Kind, SnapshotInfo

_KINDS = {Kind.VIEW: snapshots_pb2.VIEW, Kind.ACTIVE: snapshots_pb2.ACTIVE, Kind.COMMITTED: snapshots_pb2.COMMITTED}


def nanoseconds(time: Timestamp) -> int:
    """Go's zero time, year 1, is far below the epoch: it means none, as an unset field does."""
    return max(0, time.seconds * 1_000_000_000 + time.nanos)


def timestamp(time: int) -> Timestamp:
    return Timestamp(seconds=time // 1_000_000_000, nanos=time % 1_000_000_000)


def mask(fieldpaths: Iterable[str]) -> FieldMask | None:
    """None for no paths: every field."""
    paths = list(fieldpaths)
    return FieldMask(paths=paths) if paths else None


def any_value(message: AnyMessage) -> AnyValue:
    return AnyValue(message.type_url, message.value)


def any_message(value: AnyValue | None) -> AnyMessage | None:
    return None if value is None else AnyMessage(type_url=value.type_url, value=value.value)


def optional_any(owner: Any, field: str) -> AnyValue | None:
    """The Any in a field of a message, None where it is not set."""
    return any_value(getattr(owner, field)) if owner.HasField(field) else None


def descriptor(message: descriptor_pb2.Descriptor) -> Descriptor:
    return Descriptor(message.media_type, message.digest, message.size, dict(message.annotations))


def descriptor_message(value: Descriptor) -> descriptor_pb2.Descriptor:
    return descriptor_pb2.Descriptor(
        media_type=value.media_type, digest=value.digest, size=value.size, annotations=dict(value.annotations)
    )


def mount(message: mount_pb2.Mount) -> Mount:
    return Mount(message.type, message.source, message.target, tuple(message.options))


def mount_messages(mounts: Iterable[Mount]) -> list[mount_pb2.Mount]:
    return [mount_pb2.Mount(type=m.type, source=m.source, target=m.target, options=m.options) for m in mounts]


def image(message: images_pb2.Image) -> Image:
    return Image(
        message.name,
        descriptor(message.target),
        dict(message.labels),
        nanoseconds(message.created_at),
        nanoseconds(message.updated_at),
    )


def image_message(value: Image) -> images_pb2.Image:
    target = descriptor_message(value.target) if value.target.digest else None
    return images_pb2.Image(name=value.name, labels=dict(value.labels), target=target)


def container(message: containers_pb2.Container) -> Container:
    return Container(
        id=message.id,
        labels=dict(message.labels),
        image=message.image,
        runtime=RuntimeInfo(message.runtime.name, optional_any(message.runtime, "options")),
        spec=optional_any(message, "spec"),
        snapshotter=message.snapshotter,
        snapshot_key=message.snapshot_key,
        sandbox=message.sandbox,
        extensions={key: any_value(value) for key, value in message.extensions.items()},
        created_at=nanoseconds(message.created_at),
        updated_at=nanoseconds(message.updated_at),
    )


def container_message(value: Container) -> containers_pb2.Container:
    runtime = containers_pb2.Container.Runtime(name=value.runtime.name, options=any_message(value.runtime.options))
    return containers_pb2.Container(
        id=value.id,
        labels=dict(value.labels),
        image=value.image,
        runtime=runtime,
        spec=any_message(value.spec),
        snapshotter=value.snapshotter,
        snapshot_key=value.snapshot_key,
        sandbox=value.sandbox,
        extensions=_any_map(value.extensions),
    )


def content_info(message: content_pb2.Info) -> ContentInfo:
    created, updated = nanoseconds(message.created_at), nanoseconds(message.updated_at)
    return ContentInfo(message.digest, message.size, created, updated, dict(message.labels))


def ingest_status(message: content_pb2.Status) -> IngestStatus:
    return IngestStatus(
        message.ref,
        message.offset,
        message.total,
        message.expected,
        nanoseconds(message.started_at),
        nanoseconds(message.updated_at),
    )


def snapshot_info(message: snapshots_pb2.Info) -> SnapshotInfo:
    kind = next((kind for kind, number in _KINDS.items() if number == message.kind), Kind.ACTIVE)
    return SnapshotInfo(
        name=message.name,
        kind=kind,
        parent=message.parent,
        created_at=nanoseconds(message.created_at),
        updated_at=nanoseconds(message.updated_at),
        labels=dict(message.labels),
    )


def process_state(message: task_pb2.Process) -> ProcessState:
    return ProcessState(
        # containerd puts the task's own id into `id` and leaves `container_id` empty in lists.
        container_id=message.container_id or message.id,
        exec_id=message.id if message.container_id and message.id != message.container_id else "",
        pid=message.pid,
        status=_status(message.status),
        stdio=Stdio(message.stdin, message.stdout, message.stderr, message.terminal),
        exit_status=message.exit_status,
        exited_at=nanoseconds(message.exited_at),
    )


def _status(number: int) -> Status:
    words = {value.number: Status(value.name.lower()) for value in task_pb2.Status.DESCRIPTOR.values}
    return words.get(number, Status.UNKNOWN)


def _any_map(values: Mapping[str, AnyValue]) -> dict[str, AnyMessage]:
    return {key: AnyMessage(type_url=value.type_url, value=value.value) for key, value in values.items()}
