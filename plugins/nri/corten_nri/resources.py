"""Resources: `linux.resources` of the OCI runtime spec as JSON, and NRI's message of them."""

from collections.abc import Mapping
from typing import Any

from corten.api.nri.v1alpha1 import nri_pb2 as pb

MEMORY = {
    "limit": "limit", "reservation": "reservation", "swap": "swap", "kernel": "kernel", "kernelTCP": "kernel_tcp",
    "swappiness": "swappiness", "disableOOMKiller": "disable_oom_killer", "useHierarchy": "use_hierarchy",
}  # fmt: skip
"""OCI's words to NRI's."""
CPU = {
    "shares": "shares", "quota": "quota", "period": "period", "realtimeRuntime": "realtime_runtime",
    "realtimePeriod": "realtime_period",
}  # fmt: skip
CPUSETS = ("cpus", "mems")
CLASSES = {"blockioClass": "blockio_class", "rdtClass": "rdt_class"}


def message(resources: Mapping[str, Any] | None) -> pb.LinuxResources:
    """NRI's message; what is not there in one is not there in the other."""
    found, made = resources or {}, pb.LinuxResources()
    _optional(found.get("memory"), made.memory, MEMORY)
    _optional(found.get("cpu"), made.cpu, CPU)
    for name in CPUSETS:
        setattr(made.cpu, name, (found.get("cpu") or {}).get(name) or "")
    for limit in found.get("hugepageLimits") or ():
        made.hugepage_limits.add(page_size=limit["pageSize"], limit=limit["limit"])
    for device in found.get("devices") or ():
        _device(device, made.devices.add())
    if (limit := (found.get("pids") or {}).get("limit")) is not None:
        made.pids.limit = limit
    made.unified.update(found.get("unified") or {})
    _optional(found, made, CLASSES)
    return made


def document(message: pb.LinuxResources) -> dict[str, Any]:
    """The JSON object."""
    made: dict[str, Any] = {}
    memory = _present(message.memory, MEMORY)
    cpu = _present(message.cpu, CPU) | {name: value for name in CPUSETS if (value := getattr(message.cpu, name))}
    parts = {"memory": memory, "cpu": cpu, "unified": dict(message.unified)}
    made |= {key: part for key, part in parts.items() if part}
    if message.hugepage_limits:
        made["hugepageLimits"] = [{"pageSize": each.page_size, "limit": each.limit} for each in message.hugepage_limits]
    if message.devices:
        made["devices"] = [_rule(device) for device in message.devices]
    if message.HasField("pids"):
        made["pids"] = {"limit": message.pids.limit}
    return made | _present(message, CLASSES)


def kept(known: Mapping[str, Any], made: Mapping[str, Any]) -> dict[str, Any]:
    """`made`, with what NRI has no words for as it is in `known`."""
    whole = {**known, **made}
    for part in ("memory", "cpu"):
        if part in known and part in made:
            whole[part] = {**known[part], **made[part]}
    return whole


def overlaid(below: pb.LinuxResources, above: pb.LinuxResources) -> pb.LinuxResources:
    """What `above` says, and `below` where it says nothing. A page size has one limit."""
    made = pb.LinuxResources()
    made.CopyFrom(below)
    made.MergeFrom(above)
    limits = {each.page_size: each.limit for each in made.hugepage_limits}
    del made.hugepage_limits[:]
    for size, limit in limits.items():
        made.hugepage_limits.add(page_size=size, limit=limit)
    return made


def _optional(found: Mapping[str, Any] | None, made: Any, words: Mapping[str, str]) -> None:
    for word, field in words.items():
        if (value := (found or {}).get(word)) is not None:
            getattr(made, field).value = value


def _present(message: Any, words: Mapping[str, str]) -> dict[str, Any]:
    return {word: getattr(message, field).value for word, field in words.items() if message.HasField(field)}


def _device(rule: Mapping[str, Any], made: pb.LinuxDeviceCgroup) -> None:
    made.allow, made.type, made.access = bool(rule.get("allow")), rule.get("type") or "", rule.get("access") or ""
    for number in ("major", "minor"):
        if rule.get(number) is not None:
            getattr(made, number).value = rule[number]


def _rule(device: pb.LinuxDeviceCgroup) -> dict[str, Any]:
    rule: dict[str, Any] = {"allow": device.allow}
    rule |= {key: value for key in ("type", "access") if (value := getattr(device, key))}
    return rule | _present(device, {"major": "major", "minor": "minor"})
