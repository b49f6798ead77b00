"""Settings as the verbose status shows them: containerd's words, which tools look for. Pure."""

from collections.abc import Mapping
from dataclasses import fields, is_dataclass, replace
from enum import Enum
from typing import Any, get_type_hints

from corten.config.units import Duration, written

from ..config.runtime import RuntimeConfig

_AS_THEY_ARE = frozenset({
    "device_ownership_from_security_context", "privileged_without_host_devices",
    "privileged_without_host_devices_all_devices_allowed", "io_type",
})  # fmt: skip
_WORDS = {
    "enable_cdi": "enableCDI", "cdi_spec_dirs": "cdiSpecDirs", "runtime_type": "runtimeType", "bin_dir": "binDir",
    "restrict_oom_score_adj": "restrictOOMScoreAdj", "enable_unprivileged_icmp": "enableUnprivilegedICMP",
    "ignore_rdt_not_enabled_errors": "ignoreRdtNotEnabledErrors", "ip_pref": "ipPref",
    "netns_mounts_under_state_dir": "netnsMountsUnderStateDir", "drain_exec_sync_io_timeout": "drainExecSyncIOTimeout",
    "ignore_blockio_not_enabled_errors": "ignoreBlockIONotEnabledErrors", "enable_criu": "enableCRIU",
    "pod_annotations": "PodAnnotations", "container_annotations": "ContainerAnnotations",
}  # fmt: skip
_RUNC_TYPE = "io.containerd.runc.v2"
_RUNC: Mapping[str, Any] = {
    "BinaryName": "", "CriuImagePath": "", "CriuWorkPath": "", "IoGid": 0, "IoUid": 0, "NoNewKeyring": False,
    "Root": "", "ShimCgroup": "", "SystemdCgroup": False,
}  # fmt: skip


def document(value: Any) -> Any:
    """Plain data; the keys of sections in camel case, those of maps as they are; durations in Go's notation."""
    if is_dataclass(value) and not isinstance(value, type):
        times = {name for name, hint in get_type_hints(type(value), include_extras=True).items() if hint == Duration}
        return {
            word(each.name): written(found) if each.name in times else document(found)
            for each in fields(value)
            for found in (getattr(value, each.name),)
        }
    if isinstance(value, Mapping):
        return {str(key): document(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [document(each) for each in value]
    if isinstance(value, Enum):
        return value.value
    return value if isinstance(value, bool | int | float | str | None) else str(value)


def with_defaults(config: RuntimeConfig) -> RuntimeConfig:
    """The same, with all options of runc that a handler leaves out: tools look for SystemdCgroup there."""
    runtimes = {
        name: replace(each, options={**_RUNC, **each.options}) if each.runtime_type == _RUNC_TYPE else each
        for name, each in config.handlers.items()
    }
    return replace(config, containerd=replace(config.containerd, runtimes=runtimes))


def word(name: str) -> str:
    """A key as containerd shows it."""
    if name in _AS_THEY_ARE:
        return name
    first, *rest = name.split("_")
    return _WORDS.get(name) or first + "".join(part.capitalize() for part in rest)
