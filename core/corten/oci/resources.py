"""Limits as the runtime specification has them. Those of cgroup v1 are given for v2 too: runc converts them."""

import copy
from collections.abc import Mapping
from typing import Any

from corten.errors import InvalidArgument

from .options import Rdt, Resources

PERIOD = 100_000
"""Microseconds of one period of the CFS quota when nobody says another."""
_UNLIMITED = -1

_CPU = {
    "cpu_shares": "shares",
    "cpu_quota": "quota",
    "cpu_period": "period",
    "cpu_burst": "burst",
    "cpu_idle": "idle",
    "cpuset_cpus": "cpus",
    "cpuset_mems": "mems",
}
_MEMORY = {
    "memory": "limit",
    "memory_swap": "swap",
    "memory_reservation": "reservation",
    "memory_swappiness": "swappiness",
}
_MAY_BE_UNLIMITED = ("cpu_quota", "memory", "memory_swap", "memory_reservation", "pids")


def quota(cpus: float, period: int = PERIOD) -> int:
    """Microseconds of processor time in a period for so many processors. Raises InvalidArgument below 0.01."""
    if not 0.01 <= cpus <= 10_000_000:  # also refuses what is not a number
        raise InvalidArgument(f"cpus {cpus}: the kernel takes no less than 0.01 of a processor")
    return round(cpus * period)


def document(resources: Resources) -> dict[str, Any]:
    """The specification's `resources`, only with what is set. Raises InvalidArgument for a negative limit."""
    _check(resources)
    made: dict[str, Any] = {}
    if cpu := _named(resources, _CPU):
        made["cpu"] = cpu
    memory = _named(resources, _MEMORY)
    if resources.disable_oom_killer:
        memory["disableOOMKiller"] = True
    if memory:
        made["memory"] = memory
    if resources.pids is not None:
        made["pids"] = {"limit": resources.pids}
    if resources.hugepages:
        made["hugepageLimits"] = [{"pageSize": size, "limit": limit} for size, limit in resources.hugepages]
    if resources.unified:
        made["unified"] = dict(resources.unified)
    if resources.block_io is not None:
        made["blockIO"] = copy.deepcopy(dict(resources.block_io))
    return made


def merged(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with `changes`, controller by controller and within each limit by limit."""
    made = dict(base)
    for key, value in changes.items():
        both = isinstance(value, Mapping) and isinstance(made.get(key), Mapping)
        made[key] = {**made[key], **value} if both else value
    return made


def rdt(wanted: Rdt) -> dict[str, str]:
    """The specification's `intelRdt`."""
    named = {
        "closID": wanted.class_id,
        "l3CacheSchema": wanted.l3_cache_schema,
        "memBwSchema": wanted.memory_bandwidth_schema,
    }
    return {key: value for key, value in named.items() if value}


def _named(resources: Resources, names: Mapping[str, str]) -> dict[str, Any]:
    found = {there: getattr(resources, here) for here, there in names.items()}
    return {key: value for key, value in found.items() if value is not None and value != ""}


def _check(resources: Resources) -> None:
    for name in (*_CPU, *_MEMORY, "pids"):
        value = getattr(resources, name)
        least = _UNLIMITED if name in _MAY_BE_UNLIMITED else 0
        if isinstance(value, int) and value < least:
            raise InvalidArgument(f"{name.replace('_', ' ')} {value}: a limit is negative (give {least} or more)")
    for size, limit in resources.hugepages:
        if limit < 0:
            raise InvalidArgument(f"huge pages of {size}: the limit {limit} is negative")
