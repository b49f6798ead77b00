"""Who set what: a field of a container belongs to the plugin that set it first, unless another takes it away openly.

A plugin that sends a key marked for removal (`-KEY`) and the key as well replaces it: what was set before it is gone.
"""

from collections.abc import Iterator
from dataclasses import field

from corten.api.nri.v1alpha1 import nri_pb2 as pb
from corten.errors import FailedPrecondition
from corten.values import dataclass

from .names import removed
from .resources import CPU, CPUSETS, MEMORY

_MEMORY = {
    "limit": pb.MemLimit, "reservation": pb.MemReservation, "swap": pb.MemSwapLimit, "kernel": pb.MemKernelLimit,
    "kernel_tcp": pb.MemTCPLimit, "swappiness": pb.MemSwappiness, "disable_oom_killer": pb.MemDisableOomKiller,
    "use_hierarchy": pb.MemUseHierarchy,
}  # fmt: skip
_CPU = {
    "shares": pb.CPUShares, "quota": pb.CPUQuota, "period": pb.CPUPeriod, "realtime_runtime": pb.CPURealtimeRuntime,
    "realtime_period": pb.CPURealtimePeriod, "cpus": pb.CPUSetCPUs, "mems": pb.CPUSetMems,
}  # fmt: skip
_LINUX = {
    "oom_score_adj": pb.OomScoreAdj, "io_priority": pb.IoPriority, "seccomp_policy": pb.SeccompPolicy,
    "scheduler": pb.LinuxSched, "memory_policy": pb.MemoryPolicy,
}  # fmt: skip
_RDT = {"clos_id": pb.RdtClosID, "schemata": pb.RdtSchemata, "enable_monitoring": pb.RdtEnableMonitoring}


@dataclass(frozen=True, slots=True)
class Claim:
    """A field that a plugin sets, of several of a kind the one with `key`; `clears` it of who set it before."""

    field: int
    key: str = ""
    clears: bool = False
    sets: bool = True


@dataclass
class Owners:
    """By container: the plugin that set a field. One that took it away is kept as `-PLUGIN`."""

    _owners: dict[str, dict[tuple[int, str], str]] = field(default_factory=dict)

    def take(self, container: str, claim: Claim, plugin: str) -> None:
        """Raises FailedPrecondition if it is another's."""
        owners = self._owners.setdefault(container, {})
        at = (claim.field, claim.key)
        if claim.field == pb.OciHooks:
            owners[at] = f"{owners[at]},{plugin}" if at in owners else plugin
            return
        if claim.clears:
            owners[at] = f"-{plugin}"
        if not claim.sets:
            return
        other, cleared = removed(owners.get(at, ""))
        if other and not (cleared and other == plugin):
            what = f"{pb.Field.Name(claim.field)} {claim.key}".strip()
            raise FailedPrecondition(
                f"NRI: plugins {plugin!r} and {other!r} both set {what} of container {container} "
                "(have one of them leave it, or remove it before it sets it)"
            )
        owners[at] = plugin

    def of(self, container: str, field: int) -> dict[str, str]:
        """Key to plugin of those that set such a field; the key is empty where there is but one."""
        found = self._owners.get(container, {})
        return {key: owner for (each, key), owner in found.items() if each == field and not owner.startswith("-")}

    def message(self) -> pb.OwningPlugins:
        """For validators."""
        made = pb.OwningPlugins()
        for container, owners in self._owners.items():
            fields = made.owners[container]
            for (number, key), owner in owners.items():
                if key:
                    fields.compound[number].owners[key] = owner
                else:
                    fields.simple[number] = owner
        return made


def of_adjustment(wanted: pb.ContainerAdjustment) -> Iterator[Claim]:
    """Everything that a plugin wants of a container in the making."""
    linux = wanted.linux
    yield from _keyed(pb.Annotations, list(wanted.annotations))
    yield from _keyed(pb.Mounts, [each.destination for each in wanted.mounts])
    yield from _keyed(pb.Env, [each.key for each in wanted.env])
    if wanted.args:
        yield Claim(pb.Args, clears=wanted.args[0] == "")
    if wanted.hooks.ByteSize():
        yield Claim(pb.OciHooks)
    yield from _keyed(pb.Devices, [each.path for each in linux.devices])
    yield from of_resources(linux.resources)
    if linux.cgroups_path:
        yield Claim(pb.CgroupsPath)
    yield from (Claim(number) for name, number in _LINUX.items() if linux.HasField(name))
    yield from (Claim(pb.Namespace, removed(each.type)[0]) for each in linux.namespaces)
    yield from _keyed(pb.Sysctl, list(linux.sysctl))
    yield from _keyed(pb.LinuxNetDevices, list(linux.net_devices))
    yield from _rdt(linux.rdt)
    yield from (Claim(pb.Rlimits, each.type) for each in wanted.rlimits)
    yield from (Claim(pb.CdiDevices, each.name) for each in wanted.CDI_devices)


def of_resources(wanted: pb.LinuxResources) -> Iterator[Claim]:
    """Everything that a plugin wants of the resources of a container."""
    yield from (Claim(_MEMORY[name]) for name in MEMORY.values() if wanted.memory.HasField(name))
    yield from (Claim(_CPU[name]) for name in CPU.values() if wanted.cpu.HasField(name))
    yield from (Claim(_CPU[name]) for name in CPUSETS if getattr(wanted.cpu, name))
    yield from (Claim(pb.HugepageLimits, each.page_size) for each in wanted.hugepage_limits)
    yield from (Claim(pb.CgroupsUnified, key) for key in wanted.unified)
    if wanted.HasField("blockio_class"):
        yield Claim(pb.BlockioClass)
    if wanted.HasField("rdt_class"):
        yield Claim(pb.RdtClass)
    if wanted.HasField("pids"):
        yield Claim(pb.PidsLimit)


def _keyed(number: int, keys: list[str]) -> Iterator[Claim]:
    marked = {key for key, gone in map(removed, keys) if gone}
    plain = [key for key, gone in map(removed, keys) if not gone]
    yield from (Claim(number, key, clears=True, sets=False) for key in sorted(marked.difference(plain)))
    yield from (Claim(number, key, clears=key in marked) for key in plain)


def _rdt(wanted: pb.LinuxRdt) -> Iterator[Claim]:
    for name, number in _RDT.items():
        sets = wanted.HasField(name)
        if sets or wanted.remove:
            yield Claim(number, clears=wanted.remove, sets=sets)
