"""Pods and containers as NRI's messages, made of the records of the contract and the OCI spec."""

from collections.abc import Mapping
from typing import Any

from corten.api.nri.v1alpha1 import nri_pb2 as pb
from corten.contracts.nri import NriContainer, NriPod

from . import resources

_STATES = {
    "created": pb.CONTAINER_CREATED,
    "running": pb.CONTAINER_RUNNING,
    "stopped": pb.CONTAINER_STOPPED,
}
HOOKS = {
    "prestart": "prestart", "createRuntime": "create_runtime", "createContainer": "create_container",
    "startContainer": "start_container", "poststart": "poststart", "poststop": "poststop",
}  # fmt: skip
"""OCI's words to NRI's."""


def pod_message(pod: NriPod) -> pb.PodSandbox:
    """What plugins are told of a pod."""
    message = pb.PodSandbox(
        id=pod.id, name=pod.name, uid=pod.uid, namespace=pod.namespace, labels=pod.labels,
        annotations=pod.annotations, runtime_handler=pod.runtime_handler, pid=pod.pid, ips=pod.ips,
    )  # fmt: skip
    linux = message.linux
    linux.cgroup_parent, linux.cgroups_path = pod.cgroup_parent, pod.cgroups_path
    for type, path in pod.namespaces.items():
        linux.namespaces.add(type=type, path=path)
    if pod.overhead is not None:
        linux.pod_overhead.CopyFrom(resources.message(pod.overhead))
    if pod.pod_resources is not None:
        linux.pod_resources.CopyFrom(resources.message(pod.pod_resources))
    return message


def container_message(container: NriContainer, spec: Mapping[str, Any] | None = None) -> pb.Container:
    """What plugins are told of a container; `spec` in the place of its own."""
    found = container.spec if spec is None else spec
    process: Mapping[str, Any] = found.get("process") or {}
    message = pb.Container(
        id=container.id, pod_sandbox_id=container.pod_id, name=container.name,
        state=_STATES.get(container.state, pb.CONTAINER_UNKNOWN), labels=container.labels,
        annotations={**(found.get("annotations") or {}), **container.annotations},
        args=process.get("args") or (), env=process.get("env") or (), pid=container.pid,
        created_at=container.created_at, started_at=container.started_at, finished_at=container.finished_at,
        exit_code=container.exit_code, status_reason=container.reason, status_message=container.message,
    )  # fmt: skip
    for mount in found.get("mounts") or ():
        message.mounts.add(
            destination=mount["destination"], type=mount.get("type") or "", source=mount.get("source") or "",
            options=mount.get("options") or (),
        )  # fmt: skip
    _hooks(found.get("hooks") or {}, message.hooks)
    for limit in process.get("rlimits") or ():
        message.rlimits.add(type=limit["type"], hard=limit["hard"], soft=limit["soft"])
    for name in container.cdi_devices:
        message.CDI_devices.add(name=name)
    _user(process.get("user") or {}, message.user)
    _image(container, message)
    _linux(found.get("linux") or {}, process, message.linux)
    _seccomp_profile(container.seccomp, message.linux)
    return message


def _hooks(found: Mapping[str, Any], made: pb.Hooks) -> None:
    for word, field in HOOKS.items():
        for hook in found.get(word) or ():
            added = getattr(made, field).add(path=hook["path"], args=hook.get("args") or (), env=hook.get("env") or ())
            if hook.get("timeout") is not None:
                added.timeout.value = hook["timeout"]


def _user(found: Mapping[str, Any], made: pb.User) -> None:
    made.uid, made.gid = found.get("uid") or 0, found.get("gid") or 0
    made.additional_gids.extend(found.get("additionalGids") or ())


def _image(container: NriContainer, message: pb.Container) -> None:
    if (image := container.image) is not None:
        message.image.name, message.image.digest = image.name, image.digest
        message.image.config_digest = image.config_digest


def _linux(found: Mapping[str, Any], process: Mapping[str, Any], made: pb.LinuxContainer) -> None:
    for namespace in found.get("namespaces") or ():
        made.namespaces.add(type=namespace["type"], path=namespace.get("path") or "")
    for device in found.get("devices") or ():
        _device(device, made.devices.add())
    made.resources.CopyFrom(resources.message(found.get("resources")))
    if process.get("oomScoreAdj") is not None:
        made.oom_score_adj.value = process["oomScoreAdj"]
    made.cgroups_path = found.get("cgroupsPath") or ""
    made.sysctl.update(found.get("sysctl") or {})
    for host, device in (found.get("netDevices") or {}).items():
        made.net_devices[host].name = device.get("name") or ""
    if priority := process.get("ioPriority"):
        made.io_priority.CopyFrom(_io_priority(priority))
    if scheduler := process.get("scheduler"):
        made.scheduler.CopyFrom(_scheduler(scheduler))
    if rdt := found.get("intelRdt"):
        _rdt(rdt, made.rdt)
    if seccomp := found.get("seccomp"):
        _seccomp(seccomp, made.seccomp_policy)


def _device(found: Mapping[str, Any], made: pb.LinuxDevice) -> None:
    made.path, made.type = found["path"], found.get("type") or ""
    made.major, made.minor = found.get("major") or 0, found.get("minor") or 0
    for word, field in (("fileMode", "file_mode"), ("uid", "uid"), ("gid", "gid")):
        if found.get(word) is not None:
            getattr(made, field).value = found[word]


def _io_priority(found: Mapping[str, Any]) -> pb.LinuxIOPriority:
    kind = found.get("class") or "IOPRIO_CLASS_NONE"
    known = pb.IOPrioClass.DESCRIPTOR.values_by_name.get(kind)
    return pb.LinuxIOPriority(**{"class": known.number if known else 0}, priority=found.get("priority") or 0)


def _scheduler(found: Mapping[str, Any]) -> pb.LinuxScheduler:
    policies, flags = pb.LinuxSchedulerPolicy.DESCRIPTOR.values_by_name, pb.LinuxSchedulerFlag.DESCRIPTOR.values_by_name
    policy = found.get("policy") or ""
    numbers = {key: found.get(key) or 0 for key in ("nice", "priority", "runtime", "deadline", "period")}
    known = [flag for flag in found.get("flags") or () if flag in flags]
    return pb.LinuxScheduler(policy=policy if policy in policies else "SCHED_NONE", flags=known, **numbers)


def _rdt(found: Mapping[str, Any], made: pb.LinuxRdt) -> None:
    if found.get("closID"):
        made.clos_id.value = found["closID"]
    if found.get("schemata"):
        made.schemata.value.extend(found["schemata"])
    if found.get("enableMonitoring") is not None:
        made.enable_monitoring.value = found["enableMonitoring"]


def _seccomp(found: Mapping[str, Any], made: pb.LinuxSeccomp) -> None:
    made.default_action = found.get("defaultAction") or ""
    if found.get("defaultErrnoRet") is not None:
        made.default_errno.value = found["defaultErrnoRet"]
    made.architectures.extend(found.get("architectures") or ())
    made.flags.extend(found.get("flags") or ())
    made.listener_path = found.get("listenerPath") or ""
    made.listener_metadata = found.get("listenerMetadata") or ""
    for call in found.get("syscalls") or ():
        added = made.syscalls.add(names=call.get("names") or (), action=call.get("action") or "")
        if call.get("errnoRet") is not None:
            added.errno_ret.value = call["errnoRet"]
        for each in call.get("args") or ():
            added.args.add(
                index=each.get("index") or 0, value=each.get("value") or 0, value_two=each.get("valueTwo") or 0,
                op=each.get("op") or "",
            )  # fmt: skip


def _seccomp_profile(text: str, made: pb.LinuxContainer) -> None:
    if text == "runtime/default":
        made.seccomp_profile.profile_type = pb.SecurityProfile.RUNTIME_DEFAULT
    elif text == "unconfined":
        made.seccomp_profile.profile_type = pb.SecurityProfile.UNCONFINED
    elif text.startswith("localhost/"):
        made.seccomp_profile.profile_type = pb.SecurityProfile.LOCALHOST
        made.seccomp_profile.localhost_ref = text.removeprefix("localhost/")
