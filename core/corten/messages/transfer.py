"""Sources, destinations and progress of transfers as messages."""

from collections.abc import Iterable

from google.protobuf.message import Message

from corten.api.corten.images.v1 import images_pb2 as images_pb
from corten.api.types.platform_pb2 import Platform as PlatformMessage
from corten.api.types.transfer.imagestore_pb2 import ImageReference
from corten.api.types.transfer.imagestore_pb2 import ImageStore as ImageStoreMessage
from corten.api.types.transfer.progress_pb2 import Progress
from corten.api.types.transfer.registry_pb2 import AuthResponse, AuthType
from corten.contracts.objects import AnyValue
from corten.contracts.transfer import (
    Login,
    Reference,
    StoreImage,
    TransferProgress,
    TransferState,
    TransferTotals,
    Unpack,
)
from corten.platforms import Platform, normalise

from .values import descriptor_message, time_of, timestamp


def packed(message: Message) -> AnyValue:
    """As containerd's clients expect it: the type's full name with no host before it."""
    return AnyValue(str(message.DESCRIPTOR.full_name), message.SerializeToString())


def platforms(messages: Iterable[PlatformMessage]) -> tuple[Platform, ...]:
    return tuple(platform(each) for each in messages)


def platform(message: PlatformMessage) -> Platform:
    features = tuple(message.os_features)
    return normalise(Platform(message.os, message.architecture, message.variant, message.os_version, features))


def platform_message(value: Platform) -> PlatformMessage:
    return PlatformMessage(
        os=value.os,
        architecture=value.architecture,
        variant=value.variant,
        os_version=value.os_version,
        os_features=value.os_features,
    )


def store_image(message: ImageStoreMessage) -> StoreImage:
    return StoreImage(
        name=message.name,
        labels=dict(message.labels),
        platforms=platforms(message.platforms),
        all_metadata=message.all_metadata,
        manifest_limit=message.manifest_limit,
        references=tuple(_reference(each) for each in message.extra_references),
        unpacks=tuple(
            Unpack(platform(each.platform) if each.HasField("platform") else None, each.snapshotter)
            for each in message.unpacks
        ),
    )


def _reference(message: ImageReference) -> Reference:
    return Reference(
        message.name, message.is_prefix, message.allow_overwrite, message.add_digest, message.skip_named_digest
    )


def progress_message(value: TransferProgress) -> Progress:
    return Progress(
        event=value.event,
        name=value.name,
        parents=value.parents,
        progress=value.progress,
        total=value.total,
        desc=descriptor_message(value.descriptor) if value.descriptor else None,
    )


def state_message(value: TransferState) -> images_pb.TransferState:
    return images_pb.TransferState(
        id=value.id,
        namespace=value.namespace,
        kind=value.kind,
        image=value.image,
        event=value.event,
        done=value.done,
        total=value.total,
        items_done=value.items_done,
        items=value.items,
        started_at=timestamp(value.started_at),
    )


def state(message: images_pb.TransferState) -> TransferState:
    return TransferState(
        id=message.id,
        namespace=message.namespace,
        kind=message.kind,
        image=message.image,
        started_at=time_of(message.started_at),
        event=message.event,
        done=message.done,
        total=message.total,
        items_done=message.items_done,
        items=message.items,
    )


def totals_message(value: TransferTotals) -> images_pb.TransferTotals:
    return images_pb.TransferTotals(kind=value.kind, completed=value.completed, failed=value.failed, bytes=value.bytes)


def totals(message: images_pb.TransferTotals) -> TransferTotals:
    return TransferTotals(message.kind, message.completed, message.failed, message.bytes)


def login(message: AuthResponse) -> Login | None:
    match message.authType:
        case AuthType.CREDENTIALS:
            return Login(message.username, message.secret)
        case AuthType.REFRESH:
            return Login(secret=message.secret)
        case AuthType.HEADER:
            return Login(header=message.secret)
    return None
