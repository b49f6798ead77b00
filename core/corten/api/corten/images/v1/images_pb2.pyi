import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from corten.api.types import platform_pb2 as _platform_pb2
from corten.api.types.transfer import imagestore_pb2 as _imagestore_pb2
from corten.api.types.transfer import registry_pb2 as _registry_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ConvertedImage(_message.Message):
    __slots__ = ("store", "compression", "oci")
    STORE_FIELD_NUMBER: _ClassVar[int]
    COMPRESSION_FIELD_NUMBER: _ClassVar[int]
    OCI_FIELD_NUMBER: _ClassVar[int]
    store: _imagestore_pb2.ImageStore
    compression: str
    oci: bool
    def __init__(self, store: _Optional[_Union[_imagestore_pb2.ImageStore, _Mapping]] = ..., compression: _Optional[str] = ..., oci: _Optional[bool] = ...) -> None: ...

class ReferredImage(_message.Message):
    __slots__ = ("registry", "artifact_types")
    REGISTRY_FIELD_NUMBER: _ClassVar[int]
    ARTIFACT_TYPES_FIELD_NUMBER: _ClassVar[int]
    registry: _registry_pb2.OCIRegistry
    artifact_types: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, registry: _Optional[_Union[_registry_pb2.OCIRegistry, _Mapping]] = ..., artifact_types: _Optional[_Iterable[str]] = ...) -> None: ...

class SingleImage(_message.Message):
    __slots__ = ("store", "platform")
    STORE_FIELD_NUMBER: _ClassVar[int]
    PLATFORM_FIELD_NUMBER: _ClassVar[int]
    store: _imagestore_pb2.ImageStore
    platform: _platform_pb2.Platform
    def __init__(self, store: _Optional[_Union[_imagestore_pb2.ImageStore, _Mapping]] = ..., platform: _Optional[_Union[_platform_pb2.Platform, _Mapping]] = ...) -> None: ...

class TransferState(_message.Message):
    __slots__ = ("id", "namespace", "kind", "image", "event", "done", "total", "items_done", "items", "started_at")
    ID_FIELD_NUMBER: _ClassVar[int]
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    IMAGE_FIELD_NUMBER: _ClassVar[int]
    EVENT_FIELD_NUMBER: _ClassVar[int]
    DONE_FIELD_NUMBER: _ClassVar[int]
    TOTAL_FIELD_NUMBER: _ClassVar[int]
    ITEMS_DONE_FIELD_NUMBER: _ClassVar[int]
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    STARTED_AT_FIELD_NUMBER: _ClassVar[int]
    id: int
    namespace: str
    kind: str
    image: str
    event: str
    done: int
    total: int
    items_done: int
    items: int
    started_at: _timestamp_pb2.Timestamp
    def __init__(self, id: _Optional[int] = ..., namespace: _Optional[str] = ..., kind: _Optional[str] = ..., image: _Optional[str] = ..., event: _Optional[str] = ..., done: _Optional[int] = ..., total: _Optional[int] = ..., items_done: _Optional[int] = ..., items: _Optional[int] = ..., started_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class TransferTotals(_message.Message):
    __slots__ = ("kind", "completed", "failed", "bytes")
    KIND_FIELD_NUMBER: _ClassVar[int]
    COMPLETED_FIELD_NUMBER: _ClassVar[int]
    FAILED_FIELD_NUMBER: _ClassVar[int]
    BYTES_FIELD_NUMBER: _ClassVar[int]
    kind: str
    completed: int
    failed: int
    bytes: int
    def __init__(self, kind: _Optional[str] = ..., completed: _Optional[int] = ..., failed: _Optional[int] = ..., bytes: _Optional[int] = ...) -> None: ...

class ListTransfersRequest(_message.Message):
    __slots__ = ("namespace",)
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    namespace: str
    def __init__(self, namespace: _Optional[str] = ...) -> None: ...

class ListTransfersResponse(_message.Message):
    __slots__ = ("transfers", "totals")
    TRANSFERS_FIELD_NUMBER: _ClassVar[int]
    TOTALS_FIELD_NUMBER: _ClassVar[int]
    transfers: _containers.RepeatedCompositeFieldContainer[TransferState]
    totals: _containers.RepeatedCompositeFieldContainer[TransferTotals]
    def __init__(self, transfers: _Optional[_Iterable[_Union[TransferState, _Mapping]]] = ..., totals: _Optional[_Iterable[_Union[TransferTotals, _Mapping]]] = ...) -> None: ...
