"""Image volumes: an image mounted once for each pod, until the pod is stopped; containers see it read-only.

As in containerd, the place is `<state>/image-volumes/POD/DIGEST` and the snapshot is named by it: one that can be
written to (nobody does), as only those may be `volatile` and have the ids of a user namespace.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from corten.api.cri.v1 import runtime_pb2 as pb
from corten.contracts.mounts import Mount
from corten.errors import AlreadyExists, CortenError, InvalidArgument, NotFound
from corten.linux import syscalls as kernel
from corten.linux.mount import mount_all, unmount_all

from ..parts import SCOPE, Parts
from ..pods import files, wanted
from ..state.pods import Pod

assert sys.platform != "win32"

_ROOT_LABEL = {"containerd.io/gc.root": "image volume"}
_FOLDER = "image-volumes"
_BENEATH = kernel.RESOLVE_BENEATH | kernel.RESOLVE_NO_MAGICLINKS


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
        for target, key in await self._parts.run(self._made, pod):
            await self._drop(pod, target, key)
        await self._parts.run(files.remove, self._folder(pod))

    def _made(self, pod: Pod) -> list[tuple[Path, str]]:
        """Place and snapshot of each."""
        folder = self._folder(pod)
        earlier = files.folder(self._parts.state, pod.id) / _FOLDER  # of pods that an earlier version made
        return [
            *((folder / name, str(folder / name)) for name in _listed(folder)),
            *((earlier / name, f"{pod.id}-volume-{name}") for name in _listed(earlier)),
        ]

    async def _drop(self, pod: Pod, target: Path, key: str) -> None:
        parts = self._parts
        await parts.run(_unmount, target)
        with suppress(NotFound):
            snapshots = parts.metadata.snapshotter(SCOPE, parts.snapshotter(pod.handler))
            await parts.pools.run("snapshots", snapshots.remove, key)

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
                labels = {**_ROOT_LABEL, **wanted.id_labels(pod.namespaces)}
                try:
                    mounts = await parts.images.images.prepare(SCOPE, image, str(target), snapshotter, labels)
                except AlreadyExists:
                    snapshots = parts.metadata.snapshotter(SCOPE, snapshotter)
                    mounts = await parts.pools.run("snapshots", snapshots.mounts, str(target))
                await parts.run(_mount, _volatile(mounts), target)
        return await parts.run(_inside, target, mount.image_sub_path), image.id

    def _folder(self, pod: Pod) -> Path:
        return self._parts.state / _FOLDER / pod.id


def _listed(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)
    except FileNotFoundError:
        return []


def _volatile(mounts: Sequence[Mount]) -> list[Mount]:
    """Nothing of what is written there need survive: unmounting it waits for no disk."""
    return [
        replace(mount, options=(*mount.options, "volatile"))
        if mount.type == "overlay" and "volatile" not in mount.options
        else mount
        for mount in mounts
    ]


def _mount(mounts: list[Mount], target: Path) -> None:
    os.makedirs(target, 0o755, exist_ok=True)
    mount_all(mounts, target)


def _unmount(target: Path) -> None:
    unmount_all(target)
    with suppress(FileNotFoundError):
        target.rmdir()


def _inside(root: Path, path: str) -> str:
    """The folder at a path inside an image, which cannot lead out of it. The errors are in containerd's words."""
    if not path:
        return str(root)
    top = os.open(root, kernel.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        found = _opened(top, path)
    finally:
        os.close(top)
    try:
        return os.readlink(f"/proc/self/fd/{found}")
    finally:
        os.close(found)


def _opened(top: int, path: str) -> int:
    try:
        return kernel.openat2(top, path, kernel.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC, _BENEATH)
    except OSError as error:
        kind, why = _WRONG.get(error.errno or 0, (InvalidArgument, error.strerror))
        raise kind(f"sub-path {path!r} of the image: {why}") from error


_WRONG: Mapping[int, tuple[type[CortenError], str]] = {
    errno.ENOTDIR: (InvalidArgument, "only directory subpath is supported"),
    errno.ENOENT: (NotFound, "no such file or directory"),
    errno.EXDEV: (InvalidArgument, "path escapes from parent"),
}
"""What is wrong with a sub-path, by what opening it beneath the image answers (openat2(2))."""
