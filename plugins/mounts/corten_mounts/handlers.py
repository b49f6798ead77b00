"""The handlers that come with Corten: `loop` makes a device of a file, `erofs` mounts images, by devices if need be."""

import os
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from corten.contracts.mounts import ActiveMount, Mount
from corten.errors import CortenError, InvalidArgument, NotFound, Unimplemented, mapped
from corten.linux import loop
from corten.linux import mount as mounting

_ENOTBLK = 15
"""What mount(2) says to a file where it wants a block device."""
_ERRORS: dict[type[BaseException], type[CortenError]] = {
    FileNotFoundError: NotFound,
    IsADirectoryError: InvalidArgument,
}


class LoopHandler:
    """Type `loop`: the mount point is a link to the device that shows the source."""

    def mount(self, mount: Mount, point: str, active: Sequence[ActiveMount]) -> ActiveMount:
        with mapped(f"loop device for {mount.source}", _ERRORS):
            fd, device = loop.attach(mount.source, read_only="ro" in mount.options, direct="direct-io" in mount.options)
            try:
                os.symlink(device, point)
                loop.keep(fd)
            finally:
                os.close(fd)
        return ActiveMount(mount, point, time.time_ns(), {"device": device})

    def unmount(self, point: str) -> None:
        with mapped(f"loop device at {point}"):
            try:
                device = os.readlink(point)
            except FileNotFoundError:
                return
            loop.release(device)
            os.unlink(point)


class ErofsHandler:
    """Type `erofs`: from the file itself where the kernel can (Linux 6.12), else by read-only loop devices."""

    def mount(self, mount: Mount, point: str, active: Sequence[ActiveMount]) -> ActiveMount:
        if any(word.startswith("X-containerd.dmverity=") for word in mount.options):
            raise Unimplemented(f"mount {mount.source}: dm-verity is not supported")
        plain = replace(mount, options=tuple(word for word in mount.options if word != "loop"))
        with mapped(f"mount erofs {mount.source} at {point}", _ERRORS):
            os.mkdir(point, 0o700)
            try:
                self._mount(plain, point)
            except BaseException:
                Path(point).rmdir()
                raise
        return ActiveMount(plain, point, time.time_ns())

    def unmount(self, point: str) -> None:
        if os.path.isdir(point):
            mounting.unmount_all(point)

    @staticmethod
    def _mount(mount: Mount, point: str) -> None:
        try:
            mounting.mount_one(mount, point)
        except CortenError as error:
            if getattr(error.__cause__, "errno", None) != _ENOTBLK:
                raise
            mounting.mount_one(replace(mount, options=(*mount.options, "loop")), point)
