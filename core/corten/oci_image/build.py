"""Making small images, the same bytes from the same input: layers, config, manifest, index, and the archive of all.

Everything is held in memory, which is meant for images of some megabytes.

    base = layer([File("bin/sh", data, 0o755)])
    image = build("example.org/tiny:1", [base], platforms.host(), {"Cmd": ["/bin/sh"]})
    write_archive(image, file)                     # for `corten import`, `ctr images import`, `skopeo`
"""

import gzip
import io
import os
import stat
import tarfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import field
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

from corten import digests
from corten.contracts.descriptor import Descriptor
from corten.errors import InvalidArgument
from corten.platforms import Platform
from corten.values import dataclass

from . import documents, media_types


@dataclass(frozen=True, slots=True)
class File:
    """A regular file, or by `kind` a directory or a symbolic link to `target`; `path` is relative to the root."""

    path: str
    data: bytes = b""
    mode: int = 0o644
    kind: str = "file"
    target: str = ""
    uid: int = 0
    gid: int = 0


@dataclass(frozen=True, slots=True)
class Layer:
    """A layer's bytes as they are stored, and the digest of the tar within."""

    data: bytes = field(repr=False)
    diff_id: str
    descriptor: Descriptor


@dataclass(frozen=True, slots=True)
class Image:
    """All blobs by digest, and the manifest that the name stands for."""

    name: str
    target: Descriptor
    blobs: Mapping[str, bytes] = field(repr=False)


def directory(path: str, mode: int = 0o755) -> File:
    """A directory."""
    return File(path, mode=mode, kind="directory")


def symlink(path: str, target: str) -> File:
    """A symbolic link."""
    return File(path, mode=0o777, kind="symlink", target=target)


def tree(folder: Path) -> list[File]:
    """The files of a folder, all owned by root. Raises InvalidArgument for devices, sockets and FIFOs."""
    return [_file(folder, path) for path in sorted(folder.rglob("*"))]


def layer(files: Iterable[File], *, epoch: int = 0, compressed: bool = True) -> Layer:
    """A layer of the files in the order of their paths; all times are `epoch` (seconds)."""
    tar = _tar(sorted(files, key=lambda file: file.path), epoch)
    return layer_of_tar(tar, compressed=compressed)


def layer_of_tar(tar: bytes, *, compressed: bool = True) -> Layer:
    """A layer of an uncompressed tar archive."""
    data = gzip.compress(tar, mtime=0) if compressed else tar
    media_type = media_types.OCI_LAYER_GZIP if compressed else media_types.OCI_LAYER
    return Layer(data, digests.of(tar), Descriptor(media_type, digests.of(data), len(data)))


def build(
    name: str, layers: Sequence[Layer], platform: Platform, execution: Mapping[str, object], *, epoch: int = 0
) -> Image:
    """An image of the layers, base first; `execution` is the `config` of the image config (Env, Cmd, …)."""
    config = {
        "created": datetime.fromtimestamp(epoch, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        **documents.platform_document(platform),
        "config": dict(execution),
        "rootfs": {"type": "layers", "diff_ids": [layer.diff_id for layer in layers]},
    }
    blobs = {layer.descriptor.digest: layer.data for layer in layers}
    described = _add(blobs, documents.dump(config), media_types.OCI_CONFIG)
    manifest = {
        "schemaVersion": 2,
        "mediaType": media_types.OCI_MANIFEST,
        "config": documents.as_document(described),
        "layers": [documents.as_document(layer.descriptor) for layer in layers],
    }
    return Image(name, _add(blobs, documents.dump(manifest), media_types.OCI_MANIFEST), blobs)


def write_archive(image: Image, file: IO[bytes]) -> None:
    """An OCI image layout as tar, with the image's name in it."""
    entry = Descriptor(
        image.target.media_type,
        image.target.digest,
        image.target.size,
        {"io.containerd.image.name": image.name, "org.opencontainers.image.ref.name": image.name},
    )
    index = {"schemaVersion": 2, "mediaType": media_types.OCI_INDEX, "manifests": [documents.as_document(entry)]}
    blobs = [File(f"blobs/{digest.replace(':', '/')}", data) for digest, data in sorted(image.blobs.items())]
    top = [File("oci-layout", b'{"imageLayoutVersion":"1.0.0"}'), File("index.json", documents.dump(index))]
    file.write(_tar([*top, *blobs], 0))


def _add(blobs: dict[str, bytes], data: bytes, media_type: str) -> Descriptor:
    digest = digests.of(data)
    blobs[digest] = data
    return Descriptor(media_type, digest, len(data))


def _tar(files: Iterable[File], epoch: int) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for file in files:
            info = tarfile.TarInfo(file.path)
            info.mode, info.mtime, info.uid, info.gid = file.mode, epoch, file.uid, file.gid
            info.type = {"directory": tarfile.DIRTYPE, "symlink": tarfile.SYMTYPE}.get(file.kind, tarfile.REGTYPE)
            info.linkname, info.size = file.target, len(file.data)
            tar.addfile(info, io.BytesIO(file.data))
    return buffer.getvalue()


def _file(folder: Path, path: Path) -> File:
    name, mode = str(path.relative_to(folder)), path.lstat().st_mode
    if stat.S_ISLNK(mode):
        return symlink(name, os.readlink(path))
    if stat.S_ISDIR(mode):
        return directory(name, stat.S_IMODE(mode))
    if not stat.S_ISREG(mode):
        raise InvalidArgument(f"{path}: neither a file, a directory nor a symbolic link")
    return File(name, path.read_bytes(), stat.S_IMODE(mode))
