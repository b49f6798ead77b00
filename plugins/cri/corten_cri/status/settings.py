"""Settings as the verbose status shows them: containerd's words, which tools look for. Pure."""

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from typing import Any, get_type_hints

from corten.config.units import Duration, written

_AS_THEY_ARE = frozenset({"device_ownership_from_security_context"})
_WORDS = {
    "enable_cdi": "enableCDI", "cdi_spec_dirs": "cdiSpecDirs", "runtime_type": "runtimeType", "bin_dir": "binDir",
    "restrict_oom_score_adj": "restrictOOMScoreAdj", "enable_unprivileged_icmp": "enableUnprivilegedICMP",
    "ignore_rdt_not_enabled_errors": "ignoreRdtNotEnabledErrors", "ip_pref": "ipPref",
    "netns_mounts_under_state_dir": "netnsMountsUnderStateDir", "drain_exec_sync_io_timeout": "drainExecSyncIOTimeout",
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


def word(name: str) -> str:
    """A key as containerd shows it."""
    if name in _AS_THEY_ARE:
        return name
    first, *rest = name.split("_")
    return _WORDS.get(name) or first + "".join(part.capitalize() for part in rest)
