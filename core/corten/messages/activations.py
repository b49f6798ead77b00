"""Activations of the mount manager."""

from corten.api.types import mount_pb2 as pb
from corten.contracts.mounts import Activation, ActiveMount

from .values import mount_messages, mounts, time_of, timestamp


def activation(message: pb.ActivationInfo) -> Activation:
    return Activation(
        name=message.name,
        active=tuple(_active(each) for each in message.active),
        system=tuple(mounts(message.system)),
        labels=dict(message.labels),
    )


def activation_message(value: Activation) -> pb.ActivationInfo:
    return pb.ActivationInfo(
        name=value.name,
        active=[_active_message(each) for each in value.active],
        system=mount_messages(value.system),
        labels=dict(value.labels),
    )


def _active(message: pb.ActiveMount) -> ActiveMount:
    [mount] = mounts([message.mount])
    return ActiveMount(mount, message.mount_point, time_of(message.mounted_at), dict(message.data))


def _active_message(value: ActiveMount) -> pb.ActiveMount:
    [mount] = mount_messages([value.mount])
    return pb.ActiveMount(
        mount=mount, mounted_at=timestamp(value.mounted_at), mount_point=value.mount_point, data=dict(value.data)
    )
