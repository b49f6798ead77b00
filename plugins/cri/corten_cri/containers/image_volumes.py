"""Image volumes: an image mounted read-only in the pod's folder, once for each image, until the pod is stopped."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path

from corten.api.cri.v1 import runtime_pb2 as pb
from corten.contracts.mounts import Mount
from corten.errors import AlreadyExists, CortenError, InvalidArgument, NotFound, mapped
from corten.linux import syscalls as kernel
from corten.linux.mount import mount_all, unmount_all

from ..parts import SCOPE, Parts
from ..pods import files
from ..state.pods import Pod

assert sys.platform != "win32"

_ROOT_LABEL = {"containerd.io/gc.root": "image volume"}
_FOLDER = "image-volumes"


class ImageVolumes:
    """Used on the event loop."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def sources(self, pod: Pod, config: pb.ContainerConfig) -> dict[str, tuple[str, str]]:
        """The folder on the host, and the image's id, for each mount of an image, by its path in the container.

        Raises InvalidArgument, NotFound for the image or the sub-path; the message begins as the kubelet expects it.
        """
        found = {}
        for mount in config.mounts:
            if mount.HasField("image") and mount.image.image:
                try:
                    found[mount.container_path] = await self._source(pod, mount)
                except CortenError as error:
                    raise type(error)(f"ImageVolumeMountFailed: {error}") from error
        return found

    async def release(self, pod: Pod) -> None:
        """Unmount them all and drop their snapshots; may be called again."""
        parts, folder = self._parts, self._folder(pod)
        names = await parts.run(_listed, folder)
        snapshotter = parts.snapshotter(pod.handler) if names else ""
        for name in names:
            await parts.run(_unmount, folder / name)
            with suppress(NotFound):
                snapshots = parts.metadata.snapshotter(SCOPE, snapshotter)
                await parts.pools.run("snapshots", snapshots.remove, _key(pod, name))

    async def _source(self, pod: Pod, mount: pb.Mount) -> tuple[str, str]:
        if mount.host_path:
            raise InvalidArgument(f"mount at {mount.container_path}: it names an image and a host path")
        if not mount.readonly:
            raise InvalidArgument(f"mount at {mount.container_path}: images are mounted read-only only")
        parts = self._parts
        image = await parts.images.images.find(mount.image.image)
        name = image.target.digest.rpartition(":")[2]
        target = self._folder(pod) / name
        async with parts.pod_locks.holding(f"image volume {target}"):
            if not await parts.run(os.path.ismount, target):
                snapshotter = parts.snapshotter(pod.handler)
                try:
                    mounts = await parts.images.images.prepare(
                        SCOPE, image, _key(pod, name), snapshotter, _ROOT_LABEL, readonly=True
                    )
                except AlreadyExists:
                    snapshots = parts.metadata.snapshotter(SCOPE, snapshotter)
                    mounts = await parts.pools.run("snapshots", snapshots.mounts, _key(pod, name))
                await parts.run(_mount, list(mounts), target)
        return await parts.run(_inside, target, mount.image_sub_path), image.id

    def _folder(self, pod: Pod) -> Path:
        return files.folder(self._parts.state, pod.id) / _FOLDER


def _key(pod: Pod, name: str) -> str:
    return f"{pod.id}-volume-{name}"


def _listed(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)
    except FileNotFoundError:
        return []


def _mount(mounts: list[Mount], target: Path) -> None:
    os.makedirs(target, 0o755, exist_ok=True)
    mount_all(mounts, target)


def _unmount(target: Path) -> None:
    unmount_all(target)
    with suppress(FileNotFoundError):
        target.rmdir()


def _inside(root: Path, path: str) -> str:
    """The folder at a path inside an image, which cannot lead out of it."""
    if not path:
        return str(root)
    top = os.open(root, kernel.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with mapped(
            f"sub-path {path!r} of the image", {NotADirectoryError: InvalidArgument, FileNotFoundError: NotFound}
        ):
            found = kernel.openat2(
                top, path, kernel.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC,
                kernel.RESOLVE_IN_ROOT | kernel.RESOLVE_NO_MAGICLINKS,
            )  # fmt: skip
        try:
            return os.readlink(f"/proc/self/fd/{found}")
        finally:
            os.close(found)
    finally:
        os.close(top)
