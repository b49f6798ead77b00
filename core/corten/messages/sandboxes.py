"""Sandboxes."""

from corten.api.types import sandbox_pb2 as pb
from corten.contracts.objects import RuntimeInfo, Sandbox

from .values import any_messages, any_values, optional_any, optional_message, time_of, timestamp


def sandbox(message: pb.Sandbox) -> Sandbox:
    return Sandbox(
        id=message.sandbox_id,
        runtime=RuntimeInfo(message.runtime.name, optional_any(message.runtime, "options")),
        spec=optional_any(message, "spec"),
        sandboxer=message.sandboxer,
        labels=dict(message.labels),
        extensions=any_values(message.extensions),
        created_at=time_of(message.created_at),
        updated_at=time_of(message.updated_at),
    )


def sandbox_message(value: Sandbox) -> pb.Sandbox:
    return pb.Sandbox(
        sandbox_id=value.id,
        runtime=pb.Sandbox.Runtime(name=value.runtime.name, options=optional_message(value.runtime.options)),
        spec=optional_message(value.spec),
        labels=dict(value.labels),
        created_at=timestamp(value.created_at),
        updated_at=timestamp(value.updated_at),
        extensions=any_messages(value.extensions),
        sandboxer=value.sandboxer,
    )
