"""Which system calls a container may make: the default profile, decided from its capabilities, and profiles of a file.

The default has the same effect as containerd's: what is harmless or guarded by the kernel's own checks is allowed, what
an administrator's capability unlocks is allowed with that capability, all else fails with EPERM. clone3, whose flags a
filter cannot see, answers ENOSYS so that C libraries fall back to clone.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from corten.errors import InvalidArgument, mapped
from corten.values import dataclass

from . import seccomp_calls as calls

MAX_SIZE = 4 << 20
"""Bytes of a profile's file that are read."""
ALLOW = "SCMP_ACT_ALLOW"
ERRNO = "SCMP_ACT_ERRNO"
_ENOSYS = 38
_AF_ALG = 38
_AF_VSOCK = 40
_PERSONALITIES = (0x0, 0x8, 0x20000, 0x20008, 0xFFFFFFFF)  # Linux, 32 bit, uname 2.6, both, and to ask for the present
_NAMESPACE_FLAGS = 0x7E020000
"""All of CLONE_NEW* but time, which clone(2) does not have."""
_ACTIONS = frozenset(
    f"SCMP_ACT_{name}"
    for name in ("KILL", "KILL_PROCESS", "KILL_THREAD", "TRAP", "ERRNO", "TRACE", "ALLOW", "LOG", "NOTIFY")
)
_KEYS = ("defaultAction", "defaultErrnoRet", "architectures", "flags", "listenerPath", "listenerMetadata")


@dataclass(frozen=True, slots=True)
class Default:
    """The default profile on this host; what is left empty is asked of it when the spec is built."""

    architecture: str = ""
    """As in a platform, e.g. `amd64`."""
    kernel: tuple[int, int] = (0, 0)


def document(profile: Default, capabilities: Iterable[str]) -> dict[str, Any]:
    """The default profile for a process with these capabilities in its bounding set."""
    architecture = profile.architecture or _host_architecture()
    kernel = profile.kernel if profile.kernel != (0, 0) else host_kernel()
    held = set(capabilities)
    rules = [_rule(calls.ALWAYS), *_sockets(), *(_rule(["personality"], _is(0, v)) for v in _PERSONALITIES)]
    if kernel >= (4, 8):  # before, a traced process could get around its own filter (seccomp(2))
        rules.append(_rule(calls.TRACING))
    if extra := calls.BY_ARCHITECTURE.get(architecture):
        rules.append(_rule(extra))
    rules += [_rule(names) for capability, names in calls.BY_CAPABILITY.items() if capability in held]
    if "CAP_SYS_ADMIN" not in held:
        rules += _clones(architecture)
    return {
        "defaultAction": ERRNO,
        "architectures": [f"SCMP_ARCH_{name}" for name in calls.ARCHITECTURES.get(architecture, ())],
        "syscalls": rules,
    }


def load(path: str, capabilities: Iterable[str] = ()) -> dict[str, Any]:
    """The profile in a file of this host. Raises NotFound for none, InvalidArgument for one that is malformed."""
    with mapped(f"read the seccomp profile {path}"), open(path, "rb") as file:
        data = file.read(MAX_SIZE + 1)
    if len(data) > MAX_SIZE:
        raise InvalidArgument(f"seccomp profile {path}: it has more than {MAX_SIZE} bytes")
    return parse(data, capabilities, name=path)


def parse(data: bytes, capabilities: Iterable[str] = (), *, name: str = "given") -> dict[str, Any]:
    """A profile as the runtime specification has it, or in docker's form, whose conditions are decided here.

    Raises InvalidArgument for what is no profile; a runtime would only say so when the container is made.
    """
    try:
        given = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise InvalidArgument(f"seccomp profile {name}: it is not JSON: {error}") from error
    if not isinstance(given, dict) or given.get("defaultAction") not in _ACTIONS:
        raise InvalidArgument(f"seccomp profile {name}: `defaultAction` is not one of {', '.join(sorted(_ACTIONS))}")
    rules = given.get("syscalls", [])
    rules = [] if rules is None else rules
    if not isinstance(rules, list):
        raise InvalidArgument(f"seccomp profile {name}: `syscalls` is not a list")
    made = {key: given[key] for key in _KEYS if given.get(key)}
    if "architectures" not in made and given.get("archMap"):
        made["architectures"] = _mapped_architectures(given["archMap"], name)
    held = set(capabilities)
    return {**made, "syscalls": [_checked(rule, name) for rule in rules if _applies(rule, held)]}


def host_kernel() -> tuple[int, int]:
    """The version of the running kernel: major and minor."""
    import platform

    major, _, rest = platform.release().partition(".")
    minor = "".join(char for char in rest.partition(".")[0] if char.isdigit())
    return (int(major), int(minor or 0)) if major.isdigit() else (0, 0)


def _host_architecture() -> str:
    from corten import platforms

    return platforms.host().architecture


def _rule(names: Iterable[str], *args: Mapping[str, Any]) -> dict[str, Any]:
    made: dict[str, Any] = {"names": sorted(names), "action": ALLOW}
    return {**made, "args": [dict(arg) for arg in args]} if args else made


def _is(index: int, value: int, op: str = "SCMP_CMP_EQ") -> dict[str, Any]:
    return {"index": index, "value": value, "op": op}


def _sockets() -> list[dict[str, Any]]:
    """Every family but AF_ALG, the kernel's crypto, and AF_VSOCK, which would reach the hypervisor.

    One comparison a rule: runc makes rules of their own of several conditions on one argument, and either would do.
    """
    ranges = (_is(0, _AF_ALG, "SCMP_CMP_LT"), _is(0, _AF_ALG + 1), _is(0, _AF_VSOCK, "SCMP_CMP_GT"))
    return [_rule(["socket"], condition) for condition in ranges]


def _clones(architecture: str) -> list[dict[str, Any]]:
    flags = 1 if architecture in ("s390", "s390x") else 0  # clone(2): the arguments stand the other way round there
    no_namespace = {"index": flags, "value": _NAMESPACE_FLAGS, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ"}
    return [_rule(["clone"], no_namespace), {"names": ["clone3"], "action": ERRNO, "errnoRet": _ENOSYS}]


def _checked(rule: Any, profile: str) -> dict[str, Any]:
    where = f"seccomp profile {profile}: a rule"
    names = rule.get("names") or [rule.get("name")]
    if not isinstance(names, list) or not all(isinstance(name, str) and name for name in names):
        raise InvalidArgument(f"{where} names no system call")
    if rule.get("action") not in _ACTIONS:
        raise InvalidArgument(f"{where} for {names[0]} has the unknown action {rule.get('action')!r}")
    made = {"names": names, "action": rule["action"]}
    if rule.get("errnoRet") is not None:
        made["errnoRet"] = rule["errnoRet"]
    args = rule.get("args") or []
    if not isinstance(args, list) or not all(isinstance(arg, dict) and "index" in arg for arg in args):
        raise InvalidArgument(f"{where} for {names[0]} has arguments that are not objects with an index")
    return {**made, "args": args} if args else made


def _applies(rule: Any, held: set[str]) -> bool:
    """docker's `includes` and `excludes`; to leave a condition out would allow what it guards."""
    if not isinstance(rule, dict):
        raise InvalidArgument("seccomp profile: a rule is not an object")
    includes, excludes = rule.get("includes") or {}, rule.get("excludes") or {}
    return _all_met(includes, held) and not _any_met(excludes, held)


def _all_met(conditions: Mapping[str, Any], held: set[str]) -> bool:
    arches, caps = conditions.get("arches"), conditions.get("caps")
    return (
        (not arches or _host_architecture() in _architectures(arches))
        and (not caps or set(caps) <= held)
        and (not conditions.get("minKernel") or host_kernel() >= _version(conditions["minKernel"]))
    )


def _any_met(conditions: Mapping[str, Any], held: set[str]) -> bool:
    arches, caps = conditions.get("arches"), conditions.get("caps")
    return bool(
        (arches and _host_architecture() in _architectures(arches))
        or (caps and held & set(caps))
        or (conditions.get("minKernel") and host_kernel() >= _version(conditions["minKernel"]))
    )


def _architectures(names: Sequence[str]) -> set[str]:
    return {{"x86": "386", "x32": "amd64"}.get(name, name) for name in names}


def _version(text: str) -> tuple[int, int]:
    major, _, minor = str(text).partition(".")
    try:
        return int(major), int(minor.partition(".")[0] or 0)
    except ValueError:
        raise InvalidArgument(f"seccomp profile: minKernel {text!r} is not a version such as 4.8") from None


def _mapped_architectures(entries: Any, profile: str) -> list[str]:
    native = calls.ARCHITECTURES.get(_host_architecture(), ())
    for entry in entries if isinstance(entries, list) else ():
        if isinstance(entry, dict) and str(entry.get("architecture", "")).removeprefix("SCMP_ARCH_") in native[:1]:
            return [entry["architecture"], *entry.get("subArchitectures", ())]
    return []
