"""Indexes, manifests and configs of images, as far as a runtime needs them."""

from collections.abc import Mapping
from dataclasses import field

from corten.contracts.descriptor import Descriptor
from corten.platforms import Platform
from corten.values import dataclass


@dataclass(frozen=True, slots=True)
class IndexEntry:
    """A manifest in an index, with the platform it is for, if it says so."""

    descriptor: Descriptor
    platform: Platform | None = None

    @property
    def is_attestation(self) -> bool:
        """Whether this is about another entry (buildkit's provenance), not an image to run."""
        return "vnd.docker.reference.type" in self.descriptor.annotations


@dataclass(frozen=True, slots=True)
class Index:
    """Images for several platforms, in the order of preference that their maker gave them.

    `subject` as in a manifest.
    """

    entries: tuple[IndexEntry, ...]
    annotations: Mapping[str, str] = field(default_factory=dict)
    subject: str = ""
    artifact_type: str = ""

    @property
    def listed_type(self) -> str:
        """What a list of referrers says of it."""
        return self.artifact_type


@dataclass(frozen=True, slots=True)
class Manifest:
    """One image: a config and the layers, base first.

    `subject` is the digest of what this is about (a signature, say), `artifact_type` what it is if it is no image; both
    may be empty.
    """

    config: Descriptor
    layers: tuple[Descriptor, ...]
    annotations: Mapping[str, str] = field(default_factory=dict)
    subject: str = ""
    artifact_type: str = ""

    @property
    def listed_type(self) -> str:
        """What a list of referrers says of it: the config's type, if it has no own word."""
        return self.artifact_type or self.config.media_type


@dataclass(frozen=True, slots=True)
class ImageConfig:
    """What the config says; `diff_ids` are the digests of the uncompressed layers, base first.

    `execution` is the specification's field `config` (Env, Entrypoint, Cmd, User, WorkingDir, …) as it stands.
    """

    platform: Platform
    diff_ids: tuple[str, ...]
    execution: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PulledImage:
    """An image in a content store: `target` is what the record of it points to, `manifest` the one chosen."""

    name: str
    target: Descriptor
    manifest: Descriptor
    config: Descriptor
    layers: tuple[Descriptor, ...]
    diff_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ImportedImage:
    """An image that came from an archive; `name` is the full reference."""

    name: str
    target: Descriptor
