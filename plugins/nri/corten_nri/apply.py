"""An adjustment applied to an OCI runtime spec: a copy of it is edited, the given one is left as it is. Blocks briefly.

CDI devices are not applied here: whoever makes the container knows them.
"""

import copy
from collections.abc import Iterable, Mapping
from typing import Any

from corten.api.nri.v1alpha1 import nri_pb2 as pb

from . import resources
from .messages import HOOKS
from .mounts import add_mounts
from .names import removed

_PERMISSIONS = "rw"


def adjusted(spec: Mapping[str, Any], wanted: pb.ContainerAdjustment) -> dict[str, Any]:
    """The spec as the plugin wants it. Raises FailedPrecondition for a mount that cannot propagate as it should."""
    made = copy.deepcopy(dict(spec))
    process, linux = made.setdefault("process", {}), made.setdefault("linux", {})
    _annotations(made, wanted.annotations)
    if wanted.env:
        process["env"] = _env(process.get("env") or [], wanted.env)
    if wanted.args:
        process["args"] = list(wanted.args[1:] if wanted.args[0] == "" else wanted.args)
    _hooks(made, wanted.hooks)
    _devices(linux, wanted.linux.devices)
    _process(process, wanted)
    _linux(linux, wanted.linux)
    _resources(linux, wanted.linux.resources)
    _rdt(linux, wanted.linux)
    add_mounts(made, wanted.mounts)
    return made


def _annotations(made: dict[str, Any], wanted: Mapping[str, str]) -> None:
    if wanted:
        made["annotations"] = _mapped(made.get("annotations") or {}, wanted)


def _mapped(known: Mapping[str, Any], wanted: Mapping[str, Any]) -> dict[str, Any]:
    """Marked keys go, the others are set."""
    gone = {key for key, marked in map(removed, wanted) if marked}
    kept = {key: value for key, value in known.items() if key not in gone}
    return kept | {key: value for key, value in wanted.items() if not key.startswith("-")}


def _env(known: list[str], wanted: Iterable[pb.KeyValue]) -> list[str]:
    """Changed in its place, or put behind."""
    new = {each.key: each.value for each in wanted if not each.key.startswith("-")}
    gone = {key for each in wanted for key, marked in [removed(each.key)] if marked}
    kept = []
    for variable in known:
        name = variable.partition("=")[0]
        if name in new:
            kept.append(f"{name}={new.pop(name)}")
        elif name not in gone:
            kept.append(variable)
    return kept + [f"{name}={value}" for name, value in new.items()]


def _hooks(made: dict[str, Any], wanted: pb.Hooks) -> None:
    for word, field in HOOKS.items():
        for hook in getattr(wanted, field):
            added: dict[str, Any] = {"path": hook.path, "args": list(hook.args), "env": list(hook.env)}
            if hook.HasField("timeout"):
                added["timeout"] = hook.timeout.value
            made.setdefault("hooks", {}).setdefault(word, []).append({k: v for k, v in added.items() if v != []})


def _devices(linux: dict[str, Any], wanted: Iterable[pb.LinuxDevice]) -> None:
    """A device may be used as well: rules that forbid more come before it, so the rule goes to the end."""
    paths = {removed(each.path)[0] for each in wanted}
    kept = [device for device in linux.get("devices") or [] if device["path"] not in paths]
    new = [each for each in wanted if not each.path.startswith("-")]
    if paths:
        linux["devices"] = kept + [_device(each) for each in new]
    for each in new:
        rule = {"allow": True, "type": each.type, "major": each.major, "minor": each.minor, "access": _access(each)}
        linux.setdefault("resources", {}).setdefault("devices", []).append(rule)


def _device(wanted: pb.LinuxDevice) -> dict[str, Any]:
    made: dict[str, Any] = {"path": wanted.path, "type": wanted.type, "major": wanted.major, "minor": wanted.minor}
    for word, field in (("fileMode", "file_mode"), ("uid", "uid"), ("gid", "gid")):
        if wanted.HasField(field):
            made[word] = getattr(wanted, field).value
    return made


def _access(device: pb.LinuxDevice) -> str:
    """As its file mode says for anybody; both without one. Block devices may be made, too, as in containerd."""
    mode = device.file_mode.value if device.HasField("file_mode") else 0o666
    found = ("r" if mode & 0o444 else "") + ("w" if mode & 0o222 else "")
    return (found or _PERMISSIONS) + ("m" if device.type == "b" else "")


def _process(process: dict[str, Any], wanted: pb.ContainerAdjustment) -> None:
    linux = wanted.linux
    if linux.HasField("oom_score_adj"):
        process["oomScoreAdj"] = linux.oom_score_adj.value
    if linux.HasField("io_priority"):
        kind = getattr(linux.io_priority, "class")
        made = {"class": pb.IOPrioClass.Name(kind), "priority": linux.io_priority.priority}
        process["ioPriority"] = made if kind else None
    if linux.HasField("scheduler"):
        process["scheduler"] = _scheduler(linux.scheduler)
    for limit in wanted.rlimits:
        known = [each for each in process.get("rlimits") or [] if each["type"] != limit.type]
        process["rlimits"] = [*known, {"type": limit.type, "hard": limit.hard, "soft": limit.soft}]
    for key in ("ioPriority", "scheduler"):
        if process.get(key, 0) is None:
            del process[key]


def _scheduler(wanted: pb.LinuxScheduler) -> dict[str, Any] | None:
    if not wanted.policy:
        return None
    made: dict[str, Any] = {"policy": pb.LinuxSchedulerPolicy.Name(wanted.policy)}
    numbers = ("nice", "priority", "runtime", "deadline", "period")
    made |= {key: value for key in numbers if (value := getattr(wanted, key))}
    if wanted.flags:
        made["flags"] = [pb.LinuxSchedulerFlag.Name(flag) for flag in wanted.flags]
    return made


def _linux(linux: dict[str, Any], wanted: pb.LinuxContainerAdjustment) -> None:
    if wanted.cgroups_path:
        linux["cgroupsPath"] = wanted.cgroups_path
    if wanted.HasField("seccomp_policy"):
        linux["seccomp"] = _seccomp(wanted.seccomp_policy)
    for namespace in wanted.namespaces:
        type, gone = removed(namespace.type)
        linux["namespaces"] = [each for each in linux.get("namespaces") or [] if each["type"] != type]
        if not gone:
            linux["namespaces"].append({"type": type, **({"path": namespace.path} if namespace.path else {})})
    if wanted.sysctl:
        linux["sysctl"] = _mapped(linux.get("sysctl") or {}, wanted.sysctl)
    if wanted.net_devices:
        devices = {host: {"name": device.name} for host, device in wanted.net_devices.items()}
        linux["netDevices"] = _mapped(linux.get("netDevices") or {}, devices)
    if wanted.HasField("memory_policy"):
        policy = wanted.memory_policy
        flags = [pb.MpolFlag.Name(flag) for flag in policy.flags]
        linux["memoryPolicy"] = {"mode": pb.MpolMode.Name(policy.mode), "nodes": policy.nodes, "flags": flags}


def _seccomp(wanted: pb.LinuxSeccomp) -> dict[str, Any]:
    made: dict[str, Any] = {"defaultAction": wanted.default_action}
    if wanted.HasField("default_errno"):
        made["defaultErrnoRet"] = wanted.default_errno.value
    made |= {key: list(value) for key in ("architectures", "flags") if (value := getattr(wanted, key))}
    texts = {"listenerPath": wanted.listener_path, "listenerMetadata": wanted.listener_metadata}
    made |= {key: value for key, value in texts.items() if value}
    if wanted.syscalls:
        made["syscalls"] = [_syscall(each) for each in wanted.syscalls]
    return made


def _syscall(wanted: pb.LinuxSyscall) -> dict[str, Any]:
    made: dict[str, Any] = {"names": list(wanted.names), "action": wanted.action}
    if wanted.HasField("errno_ret"):
        made["errnoRet"] = wanted.errno_ret.value
    if wanted.args:
        made["args"] = [
            {"index": each.index, "value": each.value, "valueTwo": each.value_two, "op": each.op}
            for each in wanted.args
        ]
    return made


def _resources(linux: dict[str, Any], wanted: pb.LinuxResources) -> None:
    """A memory limit alone leaves no swap; a class of block I/O is not known to this runtime and is left out."""
    if not wanted.ByteSize():
        return
    known = resources.message(linux.get("resources"))
    made = resources.document(resources.overlaid(known, wanted))
    if wanted.memory.limit.value and not wanted.memory.HasField("swap"):
        made["memory"]["swap"] = wanted.memory.limit.value
    plain = {key: value for key, value in made.items() if key not in resources.CLASSES}
    linux["resources"] = resources.kept(linux.get("resources") or {}, plain)


def _rdt(linux: dict[str, Any], wanted: pb.LinuxContainerAdjustment) -> None:
    if wanted.resources.HasField("rdt_class"):
        name = wanted.resources.rdt_class.value
        linux["intelRdt"] = {"closID": name} if name else None
    rdt = wanted.rdt
    if rdt.remove:
        linux["intelRdt"] = None
    made: dict[str, Any] = {}
    if rdt.HasField("clos_id"):
        made["closID"] = rdt.clos_id.value
    if rdt.HasField("schemata"):
        made["schemata"] = list(rdt.schemata.value)
    if rdt.HasField("enable_monitoring"):
        made["enableMonitoring"] = rdt.enable_monitoring.value
    if made:
        linux["intelRdt"] = {**(linux.get("intelRdt") or {}), **made}
    if linux.get("intelRdt", 0) is None:
        del linux["intelRdt"]
