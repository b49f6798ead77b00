"""Whether mounts made below a path reach others, which bind mounts that propagate need (mount_namespaces(7))."""

import os
from collections.abc import Sequence

from corten.errors import FailedPrecondition

from . import mountinfo

BOTH_WAYS = "rshared"
TO_CONTAINER = "rslave"


def check(source: str, propagation: str, found: Sequence[mountinfo.Mounted] | None = None) -> None:
    """Raises FailedPrecondition if the mount that `source` is on does not propagate as `propagation` needs."""
    if propagation not in (BOTH_WAYS, TO_CONTAINER):
        return
    mount = mountinfo.holding(os.path.realpath(source), list(mountinfo.mounts() if found is None else found))
    good = ("shared:",) if propagation == BOTH_WAYS else ("shared:", "master:")
    if not any(word.startswith(good) for word in mount.optional):
        kind = "a shared mount" if propagation == BOTH_WAYS else "a shared or slave mount"
        raise FailedPrecondition(
            f"path {source!r} is mounted on {mount.target!r}, which is not {kind}"
            f" (`mount --make-rshared {mount.target}` makes it one)"
        )
