"""What several plugins want, as one adjustment; and what they want of other containers."""

from collections.abc import Iterable
from typing import Any

from corten.api.nri.v1alpha1 import nri_pb2 as pb
from corten.errors import InvalidArgument

from . import claims
from .claims import Owners
from .names import removed
from .resources import overlaid


def merge(into: pb.ContainerAdjustment, wanted: pb.ContainerAdjustment) -> None:
    """Add what a further plugin wants; what it takes away of the earlier ones is gone from the whole."""
    _drop(into.mounts, {each.destination for each in wanted.mounts}, "destination")
    _drop(into.env, {each.key for each in wanted.env}, "key")
    _drop(into.linux.devices, {each.path for each in wanted.linux.devices}, "path")
    for whole, part in (
        (into.annotations, wanted.annotations),
        (into.linux.sysctl, wanted.linux.sysctl),
        (into.linux.net_devices, wanted.linux.net_devices),
    ):
        for key, gone in map(removed, list(part)):
            if gone:
                whole.pop(key, None)
    if wanted.args:
        del into.args[:]
    if wanted.linux.rdt.remove:
        into.linux.ClearField("rdt")
    if wanted.linux.HasField("seccomp_policy"):
        into.linux.ClearField("seccomp_policy")
    into.MergeFrom(wanted)
    if into.args and into.args[0] == "":
        del into.args[0]


def _drop(whole: Any, keys: Iterable[str], name: str) -> None:
    gone = {key for key, marked in map(removed, keys) if marked}
    kept = [each for each in whole if getattr(each, name) not in gone]
    if len(kept) != len(whole):
        del whole[:]
        whole.extend(kept)


class Updates:
    """Resources of other containers, as the plugins want them, one after the other."""

    def __init__(self, owners: Owners, creating: str = "") -> None:
        """`creating` is the container that is being made, which cannot be updated."""
        self._owners = owners
        self._creating = creating
        self._wanted: dict[str, pb.ContainerUpdate] = {}

    def add(self, updates: Iterable[pb.ContainerUpdate], plugin: str) -> None:
        """Raises FailedPrecondition for a conflict, unless the plugin says that failing does not matter."""
        for update in updates:
            if update.container_id == self._creating:
                raise InvalidArgument(
                    f"NRI: plugin {plugin!r} wants to update container {self._creating}, which is being made: "
                    "it must adjust it"
                )
            self._add(update, plugin)

    def take(self, container: str) -> pb.LinuxResources | None:
        """What is wanted of one container, which is then none of the others any more."""
        update = self._wanted.pop(container, None)
        return update.linux.resources if update else None

    def all(self) -> list[pb.ContainerUpdate]:
        return list(self._wanted.values())

    def _add(self, update: pb.ContainerUpdate, plugin: str) -> None:
        known = self._wanted.get(update.container_id)
        try:
            for claim in claims.of_resources(update.linux.resources):
                self._owners.take(update.container_id, claim, plugin)
        except Exception:
            if update.ignore_failure:
                return
            raise
        if known is None:
            self._wanted[update.container_id] = update
            return
        known.linux.resources.CopyFrom(overlaid(known.linux.resources, update.linux.resources))
        known.ignore_failure = known.ignore_failure and update.ignore_failure
