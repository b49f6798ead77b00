"""The values that all messages share: times, typed blobs, descriptors and mounts."""

from collections.abc import Iterable, Mapping, Sequence

from google.protobuf.any_pb2 import Any
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from corten.api.types.descriptor_pb2 import Descriptor as DescriptorMessage
from corten.api.types.mount_pb2 import Mount as MountMessage
from corten.contracts.descriptor import Descriptor
from corten.contracts.mounts import Mount
from corten.contracts.objects import AnyValue
from corten.errors import InvalidArgument, NotFound

SECOND = 1_000_000_000
"""Nanoseconds."""


def timestamp(nanoseconds: int) -> Timestamp | None:
    """A time since the epoch as a message; None, which leaves the field unset, for 0: no time."""
    seconds, nanos = divmod(nanoseconds, SECOND)
    return Timestamp(seconds=seconds, nanos=nanos) if nanoseconds else None


def nanoseconds(message: Timestamp) -> int:
    """A message as time since the epoch. Raises InvalidArgument for nanoseconds that are not part of a second."""
    if not 0 <= message.nanos < SECOND:
        raise InvalidArgument(f"timestamp: {message.nanos} ns must be at least 0 and less than a second")
    return message.seconds * SECOND + message.nanos


def time_of(message: Timestamp) -> int:
    """A message of another daemon as time since the epoch; what lies before it is none: Go's zero time is year 1."""
    return max(0, message.seconds * SECOND + message.nanos)


def mask(fieldpaths: Iterable[str]) -> FieldMask | None:
    """None for no paths: every field."""
    paths = list(fieldpaths)
    return FieldMask(paths=paths) if paths else None


def any_value(message: Any) -> AnyValue:
    return AnyValue(message.type_url, message.value)


def optional_any(holder: Message, field: str) -> AnyValue | None:
    """The typed blob in `field`, None if it is not set."""
    return any_value(getattr(holder, field)) if holder.HasField(field) else None


def any_message(value: AnyValue) -> Any:
    return Any(type_url=value.type_url, value=value.value)


def optional_message(value: AnyValue | None) -> Any | None:
    return None if value is None else any_message(value)


def any_values(messages: Mapping[str, Any]) -> dict[str, AnyValue]:
    return {key: any_value(message) for key, message in messages.items()}


def any_messages(values: Mapping[str, AnyValue]) -> dict[str, Any]:
    return {key: any_message(value) for key, value in values.items()}


def descriptor(message: DescriptorMessage) -> Descriptor:
    return Descriptor(message.media_type, message.digest, message.size, dict(message.annotations))


def descriptor_message(value: Descriptor) -> DescriptorMessage:
    return DescriptorMessage(
        media_type=value.media_type, digest=value.digest, size=value.size, annotations=dict(value.annotations)
    )


def mounts(messages: Iterable[MountMessage]) -> list[Mount]:
    return [Mount(each.type, each.source, each.target, tuple(each.options)) for each in messages]


def mount_messages(values: Sequence[Mount]) -> list[MountMessage]:
    return [
        MountMessage(type=each.type, source=each.source, target=each.target, options=list(each.options))
        for each in values
    ]


def present(holder: Message, field: str) -> None:
    """Raises InvalidArgument when a message that the request needs is not in it."""
    if not holder.HasField(field):
        raise InvalidArgument(f"{holder.DESCRIPTOR.name}: it has no {field}")


def named(value: str, what: str) -> str:
    """The value of a field that must not be empty. Raises InvalidArgument."""
    if not value:
        raise InvalidArgument(f"{what}: it must not be empty")
    return value


def sought(value: str, what: str) -> str:
    """The name of what is asked for. Raises NotFound for an empty one, under which there is never anything.

    Clients do ask for that: for the snapshot of an image without layers.
    """
    if not value:
        raise NotFound(f"{what}: it is empty, and nothing is called that")
    return value
