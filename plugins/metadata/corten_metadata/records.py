"""What is stored under each kind of key, and in which order: one record class or contract object per kind.

Every object with labels begins with its times and its labels, so that the collector reads those and stops before the
specs.
"""

from collections.abc import Mapping
from dataclasses import field
from typing import NamedTuple

from corten.contracts.content import ContentInfo
from corten.contracts.descriptor import Descriptor
from corten.contracts.objects import AnyValue, Container, Image, RuntimeInfo, Sandbox
from corten.values import dataclass

from .codec import Decoder, Encoder


class Header(NamedTuple):
    """The first fields of every object: times in nanoseconds, and labels."""

    created_at: int
    updated_at: int
    labels: dict[str, str]


@dataclass(frozen=True, slots=True)
class LeaseRecord:
    """`number` stands for the lease in the keys of its resources."""

    number: int
    created_at: int
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class IngestRecord:
    """`expires_at` (ns) 0: only a lease keeps it. `expected`: the blob that is shared from another namespace."""

    number: int
    backend_ref: str
    expires_at: int = 0
    expected: str = ""


@dataclass(frozen=True, slots=True)
class SnapshotRecord:
    """A snapshot as its namespace sees it; `backend_key` is its key or name in the snapshotter."""

    number: int
    backend_key: str
    parent: str = ""
    parent_number: int = 0
    created_at: int = 0
    updated_at: int = 0
    labels: Mapping[str, str] = field(default_factory=dict)


def header(decoder: Decoder) -> Header:
    return Header(decoder.number(), decoder.number(), decoder.mapping())


def _begin(created_at: int, updated_at: int, labels: Mapping[str, str]) -> Encoder:
    return Encoder().number(created_at).number(updated_at).mapping(labels)


def encode_labels(labels: Mapping[str, str]) -> bytes:
    return Encoder().mapping(labels).done()


def decode_labels(name: str, data: bytes) -> dict[str, str]:
    return Decoder(data).mapping()


def encode_blob(info: ContentInfo) -> bytes:
    return _begin(info.created_at, info.updated_at, info.labels).number(info.size).done()


def decode_blob(digest: str, data: bytes) -> ContentInfo:
    decoder = Decoder(data)
    created_at, updated_at, labels = header(decoder)
    return ContentInfo(digest, decoder.number(), created_at, updated_at, labels)


def encode_image(image: Image) -> bytes:
    target = image.target
    encoder = _begin(image.created_at, image.updated_at, image.labels)
    encoder.text(target.digest).text(target.media_type).number(target.size).mapping(target.annotations)
    return encoder.done()


def decode_image(name: str, data: bytes) -> Image:
    decoder = Decoder(data)
    created_at, updated_at, labels = header(decoder)
    digest, media_type = decoder.text(), decoder.text()
    target = Descriptor(media_type, digest, decoder.number(), decoder.mapping())
    return Image(name, target, labels, created_at, updated_at)


def encode_container(container: Container) -> bytes:
    encoder = _begin(container.created_at, container.updated_at, container.labels)
    encoder.text(container.snapshotter).text(container.snapshot_key).text(container.image).text(container.sandbox)
    encoder.text(container.runtime.name).any(container.runtime.options)
    return encoder.anys(container.extensions).any(container.spec).done()


def decode_container(id: str, data: bytes) -> Container:
    decoder = Decoder(data)
    created_at, updated_at, labels = header(decoder)
    snapshotter, key, image, sandbox = (decoder.text() for _ in range(4))
    runtime = RuntimeInfo(decoder.text(), decoder.any())
    extensions = decoder.anys()
    return Container(
        id, labels, image, runtime, decoder.any(), snapshotter, key, sandbox, extensions, created_at, updated_at
    )


def encode_sandbox(sandbox: Sandbox) -> bytes:
    encoder = _begin(sandbox.created_at, sandbox.updated_at, sandbox.labels)
    encoder.text(sandbox.sandboxer).text(sandbox.runtime.name).any(sandbox.runtime.options)
    return encoder.anys(sandbox.extensions).any(sandbox.spec).done()


def decode_sandbox(id: str, data: bytes) -> Sandbox:
    decoder = Decoder(data)
    created_at, updated_at, labels = header(decoder)
    sandboxer = decoder.text()
    runtime = RuntimeInfo(decoder.text(), decoder.any())
    extensions: Mapping[str, AnyValue] = decoder.anys()
    return Sandbox(id, runtime, decoder.any(), sandboxer, labels, extensions, created_at, updated_at)


def encode_lease(lease: LeaseRecord) -> bytes:
    return _begin(lease.created_at, lease.created_at, lease.labels).number(lease.number).done()


def decode_lease(id: str, data: bytes) -> LeaseRecord:
    decoder = Decoder(data)
    created_at, _, labels = header(decoder)
    return LeaseRecord(decoder.number(), created_at, labels)


def encode_ingest(ingest: IngestRecord) -> bytes:
    encoder = Encoder().number(ingest.number).text(ingest.backend_ref)
    return encoder.number(ingest.expires_at).text(ingest.expected).done()


def decode_ingest(ref: str, data: bytes) -> IngestRecord:
    decoder = Decoder(data)
    return IngestRecord(decoder.number(), decoder.text(), decoder.number(), decoder.text())


def encode_snapshot(snapshot: SnapshotRecord) -> bytes:
    encoder = _begin(snapshot.created_at, snapshot.updated_at, snapshot.labels)
    encoder.number(snapshot.number).text(snapshot.backend_key)
    return encoder.text(snapshot.parent).number(snapshot.parent_number).done()


def decode_snapshot(key: str, data: bytes) -> SnapshotRecord:
    decoder = Decoder(data)
    created_at, updated_at, labels = header(decoder)
    number, backend_key = decoder.number(), decoder.text()
    return SnapshotRecord(number, backend_key, decoder.text(), decoder.number(), created_at, updated_at, labels)
