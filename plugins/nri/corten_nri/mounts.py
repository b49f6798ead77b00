"""Mounts that plugins add: put in order, and checked to propagate as they ask for. Reads mount tables."""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from corten.api.nri.v1alpha1 import nri_pb2 as pb
from corten.errors import FailedPrecondition

from .names import removed

_PROPAGATIONS = ("rprivate", "private", "rshared", "shared", "rslave", "slave")


def add_mounts(made: dict[str, Any], wanted: Iterable[pb.Mount]) -> None:
    """Edit the mounts of a spec, parents before what lies below them."""
    if not wanted:
        return
    linux = made.setdefault("linux", {})
    mounts = list(made.get("mounts") or [])
    for mount in wanted:
        destination, gone = removed(mount.destination)
        mounts = [each for each in mounts if each["destination"] != destination]
        if not gone:
            _propagate(linux, mount)
            mounts.append(_document(mount))
    made["mounts"] = sorted(mounts, key=_depth)


def _document(mount: pb.Mount) -> dict[str, Any]:
    made = {"destination": mount.destination, "type": mount.type, "source": mount.source}
    return {key: value for key, value in made.items() if value} | {"options": list(mount.options)}


def _depth(mount: dict[str, Any]) -> tuple[int, str]:
    return os.path.normpath(mount["destination"]).count("/"), mount["destination"]


def _propagate(linux: dict[str, Any], mount: pb.Mount) -> None:
    """The root of the container must let through what the mount is to give or take."""
    wanted = next((option for option in reversed(mount.options) if option in _PROPAGATIONS), "")
    match wanted.removeprefix("r"):
        case "shared":
            _require(mount.source, "shared")
            linux["rootfsPropagation"] = "rshared"
        case "slave":
            _require(mount.source, "shared", "master")
            if linux.get("rootfsPropagation") not in ("rshared", "rslave"):
                linux["rootfsPropagation"] = "rslave"


def _require(source: str, *kinds: str) -> None:
    found = propagation_of(source)
    if not any(each.startswith(f"{kind}:") for each in found for kind in kinds):
        raise FailedPrecondition(
            f"NRI: mount of {source}: it lies on a mount that is not {' or '.join(kinds)}, so that nothing propagates "
            f"(`mount --make-rshared` it)"
        )


def propagation_of(path: str) -> tuple[str, ...]:
    """The optional fields of the mount that a path lies on: `shared:N`, `master:N`."""
    best, found = "", tuple[str, ...]()
    path = os.path.realpath(path)
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        fields = line.split()
        point = fields[4].encode().decode("unicode_escape")
        below = point == "/" or path == point or path.startswith(f"{point}/")
        if below and len(point) >= len(best):
            best, found = point, tuple(fields[6 : fields.index("-")])
    return found
