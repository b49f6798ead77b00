"""Containers, and the runtime that containers and sandboxes name."""

from corten.api.services.containers.v1 import containers_pb2 as pb
from corten.contracts.objects import Container, RuntimeInfo

from .values import any_messages, any_values, optional_any, optional_message, time_of, timestamp


def container(message: pb.Container) -> Container:
    return Container(
        id=message.id,
        labels=dict(message.labels),
        image=message.image,
        runtime=RuntimeInfo(message.runtime.name, optional_any(message.runtime, "options")),
        spec=optional_any(message, "spec"),
        snapshotter=message.snapshotter,
        snapshot_key=message.snapshot_key,
        sandbox=message.sandbox,
        extensions=any_values(message.extensions),
        created_at=time_of(message.created_at),
        updated_at=time_of(message.updated_at),
    )


def container_message(value: Container) -> pb.Container:
    return pb.Container(
        id=value.id,
        labels=dict(value.labels),
        image=value.image,
        runtime=pb.Container.Runtime(name=value.runtime.name, options=optional_message(value.runtime.options)),
        spec=optional_message(value.spec),
        snapshotter=value.snapshotter,
        snapshot_key=value.snapshot_key,
        created_at=timestamp(value.created_at),
        updated_at=timestamp(value.updated_at),
        extensions=any_messages(value.extensions),
        sandbox=value.sandbox,
    )
