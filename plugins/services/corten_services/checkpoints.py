"""Checkpoints as blobs: a folder that criu wrote becomes a tar in the content store, and a folder again."""

import shutil
import tempfile
from dataclasses import replace
from pathlib import Path

from corten import identifiers
from corten.contracts.content import ContentStore
from corten.contracts.descriptor import Descriptor
from corten.contracts.diff import Differ
from corten.contracts.mounts import Mount
from corten.contracts.objects import AnyValue
from corten.digests import of
from corten.errors import AlreadyExists, InvalidArgument, Unimplemented, mapped
from corten.messages.values import any_message

IMAGE_TYPE = "application/vnd.containerd.container.criu.checkpoint.criu.tar"
"""Media type of the tar with criu's files."""
CONFIG_TYPE = "application/vnd.containerd.container.checkpoint.config.v1+proto"
"""Media type of the container's spec at the time, a serialised google.protobuf.Any."""
TAR_TYPE = "application/vnd.oci.image.layer.v1.tar"
"""What differs call an uncompressed tar."""


class Checkpoints:
    """All methods block. Folders for restoring lie under `root`, one for each task, until the task is deleted."""

    def __init__(self, root: Path, differ: Differ | None) -> None:
        self._root = root
        self._differ = differ

    def restore(self, namespace: str, id: str, image: Descriptor, content: ContentStore) -> str:
        """Unpack a checkpoint blob for a task about to be created; returns the folder."""
        if image.media_type != IMAGE_TYPE:
            raise InvalidArgument(f'task "{id}": cannot restore from type {image.media_type!r}; it takes {IMAGE_TYPE}')
        self.discard(namespace, id)
        folder = self._folder(namespace, id)
        with mapped(f'task "{id}": make a folder for its checkpoint'):
            folder.mkdir(mode=0o700, parents=True)
        try:
            self._tool().apply(replace(image, media_type=TAR_TYPE), [_bound(folder)], content)
        except BaseException:
            self.discard(namespace, id)
            raise
        return str(folder)

    def restored(self, namespace: str, id: str) -> bool:
        """Whether `restore` made a folder for a task; one look at the state folder, which lies in memory."""
        return self._folder(namespace, id).exists()

    def discard(self, namespace: str, id: str) -> None:
        """Remove what `restore` made for a task; harmless if that is nothing."""
        shutil.rmtree(self._folder(namespace, id), ignore_errors=True)

    def scratch(self) -> Path:
        """A new empty folder for criu to write to; `remove` it afterwards."""
        with mapped("make a folder for a checkpoint"):
            self._root.mkdir(mode=0o700, parents=True, exist_ok=True)
            return Path(tempfile.mkdtemp(prefix="checkpoint-", dir=self._root))

    def remove(self, folder: Path) -> None:
        """Remove what `scratch` made."""
        shutil.rmtree(folder, ignore_errors=True)

    def save(self, folder: Path, spec: AnyValue, content: ContentStore) -> list[Descriptor]:
        """Write the folder and the spec to the content store; returns their descriptors."""
        nothing = self.scratch()
        try:
            image = self._tool().compare([_bound(nothing)], [_bound(folder)], content, media_type=TAR_TYPE)
        finally:
            self.remove(nothing)
        return [
            replace(image, media_type=IMAGE_TYPE),
            _write(content, CONFIG_TYPE, any_message(spec).SerializeToString()),
        ]

    def _folder(self, namespace: str, id: str) -> Path:
        identifiers.validate(id, "container id")
        return self._root / "restore" / namespace / id

    def _tool(self) -> Differ:
        if self._differ is None:
            raise Unimplemented("checkpoints need io.containerd.service.v1.diff-service, which is not there")
        return self._differ


def _bound(folder: Path) -> Mount:
    return Mount("bind", str(folder), options=("rbind", "rw"))


def _write(content: ContentStore, media_type: str, data: bytes) -> Descriptor:
    digest = of(data)
    try:
        ref = f"checkpoint-{digest}"
        with content.writer(ref, total=len(data), expected=digest, media_type=media_type) as writer:
            writer.truncate(0)
            writer.write(data)
            writer.commit(len(data), digest)
    except AlreadyExists:
        pass
    return Descriptor(media_type, digest, len(data))
