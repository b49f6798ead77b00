"""Id mappings of user namespaces, checked as the kernel would: ranges within 32 bits that do not overlap."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from corten.errors import InvalidArgument

from .options import IdMapping

LAST_ID = 2**32 - 2
"""The highest id there is; all ones means "no id"."""
MAX_MAPPINGS = 340
"""Lines that the kernel takes (user_namespaces(7))."""


def document(mappings: Sequence[IdMapping]) -> list[dict[str, Any]]:
    """The specification's objects. Raises InvalidArgument for a range that is empty, too large or overlaps another."""
    if len(mappings) > MAX_MAPPINGS:
        raise InvalidArgument(f"id mappings: {len(mappings)} of them, the kernel takes {MAX_MAPPINGS}")
    for mapping in mappings:
        if min(mapping.container, mapping.host) < 0 or mapping.size < 1 or _last(mapping) > LAST_ID:
            raise InvalidArgument(f"{_shown(mapping)}: ids are numbers from 0 to {LAST_ID}, and at least one is mapped")
    for side in ("container", "host"):
        _check_apart(mappings, side)
    return [{"containerID": m.container, "hostID": m.host, "size": m.size} for m in mappings]


def to_host(id: int, mappings: Sequence[IdMapping]) -> int:
    """What `id` of the container is on the host. Raises InvalidArgument for one that is not mapped."""
    for mapping in mappings:
        if mapping.container <= id < mapping.container + mapping.size:
            return mapping.host + id - mapping.container
    raise InvalidArgument(f"id {id}: no mapping of the user namespace holds it")


def _check_apart(mappings: Sequence[IdMapping], side: str) -> None:
    ordered = sorted(mappings, key=lambda mapping: int(getattr(mapping, side)))
    for one, next in pairwise(ordered):
        if getattr(one, side) + one.size > getattr(next, side):
            raise InvalidArgument(f"{_shown(one)} and {_shown(next)}: they overlap on the side of the {side}")


def _last(mapping: IdMapping) -> int:
    return max(mapping.container, mapping.host) + mapping.size - 1


def _shown(mapping: IdMapping) -> str:
    return f"id mapping {mapping.container}:{mapping.host}:{mapping.size}"
