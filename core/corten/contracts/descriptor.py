"""The descriptor of the OCI image specification: media type, digest and size of a blob."""

from collections.abc import Mapping
from dataclasses import field

from corten.values import dataclass

EMPTY: Mapping[str, str] = {}


@dataclass(frozen=True, slots=True)
class Descriptor:
    """https://github.com/opencontainers/image-spec/blob/main/descriptor.md; `size` in bytes."""

    media_type: str
    digest: str
    size: int
    annotations: Mapping[str, str] = field(default_factory=dict)
