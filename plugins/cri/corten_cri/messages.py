"""CRI messages as JSON in the form in which containerd keeps and shows them: field names of the protocol, numbers."""

import base64
import json
from collections.abc import Mapping
from typing import Any, TypeVar

from corten.errors import DataLoss
from google.protobuf import json_format
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

M = TypeVar("M", bound=Message)


def document(message: Message) -> dict[str, Any]:
    """Fields that are set, as plain data."""
    return {field.name: _value(field, value) for field, value in message.ListFields()}


def text(value: object) -> str:
    """Compact JSON; messages in it as `document` has them."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False, default=_fallback)


def parsed(model: type[M], data: object, what: str) -> M:
    """The message in a document; keys that nobody knows are passed over. Raises DataLoss."""
    try:
        return json_format.ParseDict(data or {}, model(), ignore_unknown_fields=True)  # type: ignore[arg-type]
    except json_format.ParseError as error:
        raise DataLoss(f"{what}: it is no {model.DESCRIPTOR.name}: {error}") from error


def _value(field: FieldDescriptor, value: Any) -> Any:
    # Not by the field's options: asking for them would import a module with the first pod.
    if field.message_type is not None and isinstance(value, Mapping):
        inner = field.message_type.fields_by_name["value"]
        return {key: _single(inner, value[key]) for key in value}
    if field.is_repeated:
        return [_single(field, each) for each in value]
    return _single(field, value)


def _single(field: FieldDescriptor, value: Any) -> Any:
    if field.message_type is not None:
        return document(value)
    return base64.b64encode(value).decode() if isinstance(value, bytes) else value


def _fallback(value: object) -> Any:
    if isinstance(value, Message):
        return document(value)
    raise TypeError(f"{type(value).__name__} is no JSON")
