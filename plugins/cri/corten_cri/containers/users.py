"""Who a container runs as: names and groups by the passwd and group files of its image, read once for each image."""

from __future__ import annotations

import sys
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from threading import Lock

from corten.api.cri.v1 import runtime_pb2 as pb
from corten.contracts.mounts import Mount
from corten.errors import InvalidArgument
from corten.linux.mount import temporary_mount
from corten.linux.options import read_only
from corten.oci import rootfs as files
from corten.oci.options import User
from corten.oci.users import GroupsPolicy, resolve_process
from corten.values import dataclass

assert sys.platform != "win32"

KEPT = 64
"""Images whose files are remembered."""
LARGEST_KEPT = 64 << 10
"""Bytes of both files together beyond which they are read anew each time."""


@dataclass(frozen=True, slots=True)
class _Files:
    passwd: bytes
    group: bytes


class Users:
    """Looks users up; its methods block, and may be called from any thread."""

    def __init__(self, scratch: Path) -> None:
        self._scratch = scratch
        self._known: OrderedDict[str, _Files] = OrderedDict()
        self._lock = Lock()

    def resolve(
        self, context: pb.LinuxContainerSecurityContext, image_user: str, image_id: str, rootfs: Sequence[Mount]
    ) -> User:
        """Raises InvalidArgument for an id out of range or a malformed request, NotFound for an unknown name."""
        policy = GroupsPolicy.STRICT if context.supplemental_groups_policy == pb.Strict else GroupsPolicy.MERGE
        found = self._files(image_id, rootfs)
        return resolve_process(
            asked(context) or image_user, found.passwd, found.group, list(context.supplemental_groups), policy
        )

    def _files(self, image_id: str, rootfs: Sequence[Mount]) -> _Files:
        with self._lock:
            if (known := self._known.get(image_id)) is not None:
                self._known.move_to_end(image_id)
                return known
        with temporary_mount(read_only(rootfs), self._scratch) as root:
            found = _Files(files.read(root, "etc/passwd"), files.read(root, "etc/group"))
        if len(found.passwd) + len(found.group) <= LARGEST_KEPT:
            with self._lock:
                self._known[image_id] = found
                while len(self._known) > KEPT:
                    self._known.popitem(last=False)
        return found


def asked(context: pb.LinuxContainerSecurityContext) -> str:
    """The user of the request in the form of an image's; empty for none. Raises InvalidArgument."""
    user = context.run_as_username
    if not user and context.HasField("run_as_user"):
        user = str(_id("run_as_user", context.run_as_user.value))
    if not context.HasField("run_as_group"):
        return user
    if not user:
        raise InvalidArgument("run_as_group: it needs run_as_user or run_as_username beside it")
    return f"{user}:{_id('run_as_group', context.run_as_group.value)}"


def message(user: User) -> pb.ContainerUser:
    """What a status tells."""
    return pb.ContainerUser(
        linux=pb.LinuxContainerUser(uid=user.uid, gid=user.gid, supplemental_groups=user.additional_gids)
    )


def _id(what: str, value: int) -> int:
    if value < 0:
        raise InvalidArgument(f"{what} {value}: ids are not negative")
    return value
