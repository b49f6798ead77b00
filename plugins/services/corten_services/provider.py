"""What the plugins of types grpc and ttrpc are here: a list of services."""

from corten.values import dataclass
from corten.wire.service import Service
from google.protobuf.descriptor import FileDescriptor


@dataclass(frozen=True, slots=True)
class Provider:
    """Fulfils `ServiceProvider`."""

    services: tuple[Service, ...]


def provider(file: FileDescriptor, name: str, implementation: object) -> Provider:
    """One service, found by its short name in the file that defines it."""
    return Provider((Service(file.services_by_name[name], implementation),))
