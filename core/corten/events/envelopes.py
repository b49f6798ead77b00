"""What an envelope may hold, how a message gets into it, and how a filter looks into it."""

from collections.abc import Mapping, Sequence

from google.protobuf import descriptor_pool, message_factory
from google.protobuf.any_pb2 import Any
from google.protobuf.message import DecodeError, Message

from corten import identifiers
from corten.api.events import (
    container_pb2,
    content_pb2,
    image_pb2,
    namespace_pb2,
    sandbox_pb2,
    snapshot_pb2,
    task_pb2,
)
from corten.contracts.events import Envelope
from corten.contracts.objects import AnyValue
from corten.errors import InvalidArgument
from corten.filters import Lookup

KNOWN = (container_pb2, content_pb2, image_pb2, namespace_pb2, sandbox_pb2, snapshot_pb2, task_pb2)
"""The modules of the events that the daemon itself sends; importing them makes their messages decodable."""


def validate(envelope: Envelope) -> None:
    """Raises InvalidArgument for a bad namespace or topic, or an envelope without a time."""
    validate_names(envelope.namespace, envelope.topic)
    if envelope.timestamp <= 0:
        raise InvalidArgument(f'event on topic "{envelope.topic}": it has no timestamp')


def validate_names(namespace: str, topic: str) -> None:
    """A topic is `/` and identifiers with `/` between them; raises InvalidArgument for anything else."""
    identifiers.validate(namespace, "namespace of an event")
    if not topic.startswith("/") or topic == "/":
        raise InvalidArgument(f'topic "{topic}": must be like /tasks/start: a slash, then words with slashes between')
    for word in topic[1:].split("/"):
        identifiers.validate(word, f'word of topic "{topic}"')


def packed(event: object) -> AnyValue:
    """An event as a typed blob; the type URL is the message's full name, with no host.

    Raises InvalidArgument for what is neither a protobuf message nor an `AnyValue`.
    """
    if isinstance(event, AnyValue):
        return event
    if isinstance(event, Any):
        return AnyValue(event.type_url, event.value)
    if isinstance(event, Message):
        return AnyValue(event.DESCRIPTOR.full_name, event.SerializeToString())
    raise InvalidArgument(f"event of type {type(event).__name__}: must be a protobuf message or an AnyValue")


def unpacked(event: AnyValue) -> Message | None:
    """The message in a typed blob; None for a type that this process does not know, and for bytes that are not it."""
    try:
        found = descriptor_pool.Default().FindMessageTypeByName(event.type_url.rpartition("/")[2])
        return message_factory.GetMessageClass(found).FromString(event.value)
    except (KeyError, DecodeError):
        return None


def lookup(envelope: Envelope) -> Lookup:
    """How a filter sees an envelope: `namespace`, `topic` and `event.FIELD`; the event is decoded when first asked."""
    decoded: list[Message | None] = []

    def value(path: Sequence[str]) -> str | None:
        match list(path):
            case ["namespace"]:
                return envelope.namespace or None
            case ["topic"]:
                return envelope.topic or None
            case ["event", *fields] if fields:
                if not decoded:
                    decoded.append(unpacked(envelope.event))
                return _field(decoded[0], fields)
        return None

    return value


def _field(value: object, path: Sequence[str]) -> str | None:
    """A field of a message, of a message in it, or the entry of a map (whose key may hold dots)."""
    if isinstance(value, Message) and path:
        return _field(getattr(value, path[0], None) if path[0] in value.DESCRIPTOR.fields_by_name else None, path[1:])
    if path:
        return _field(value.get(".".join(path)), ()) if isinstance(value, Mapping) else None
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if isinstance(value, str | int) and value != "" else None
