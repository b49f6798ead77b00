"""What `corten run` was given as options of a spec."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from corten.errors import InvalidArgument
from corten.oci import capabilities, defaults, devices, mounts, resources, seccomp
from corten.oci.options import Device, Resources, Rlimit, Security, SpecMount, SpecOptions

from . import host, words

DEFAULT_SHARES = 1024
_UNLIMITED = 2**64 - 1
_NO_LIMIT = -1
_LIMITS = (
    *("as", "core", "cpu", "data", "fsize", "locks", "memlock", "msgqueue", "nice", "nofile", "nproc", "rss"),
    *("rtprio", "rttime", "sigpending", "stack"),
)


def spec_of(given: Mapping[str, Any]) -> SpecOptions:
    """Raises InvalidArgument for what cannot be understood, NotFound for devices and profiles."""
    entrypoint = given["entrypoint"]
    privileged = given["privileged"]
    return SpecOptions(
        args=given["command"],
        entrypoint=None if entrypoint is None else tuple(filter(None, [entrypoint])),
        env=host.environment(given["env"], given["env_file"]),
        cwd=given["workdir"],
        terminal=given["tty"],
        rlimits=_rlimits(given["ulimit"]),
        mounts=tuple(_mounts(given)),
        shm_size=words.size(given["shm_size"]) if given["shm_size"] else None,
        read_only=given["read_only"],
        hostname=given["hostname"],
        namespaces=host.namespaces(network=given["net_host"]),
        sysctls=_sysctls(given["sysctl"]),
        resources=_resources(given),
        security=_security(given),
        devices=(*(devices.of_host() if privileged else ()), *_devices(given["device"])),
        default_devices=True,
        all_devices=privileged,
        cgroups_path=given["cgroup"],
        annotations=words.pairs(given["annotation"], "annotation"),
    )


def _mounts(given: Mapping[str, Any]) -> Iterable[SpecMount]:
    yield from host.network_files(given["net_host"])
    for text in given["tmpfs"]:
        path, _, size = text.partition(":")
        yield mounts.tmpfs(path, size=words.size(size) if size else None)
    yield from map(words.mount, given["mount"])


def _devices(given: Iterable[str]) -> Iterable[Device]:
    for text in given:
        source, _, rest = text.partition(":")
        place, _, access = rest.partition(":")
        found = devices.nodes(source, place, access or "rwm")
        if not found:
            raise InvalidArgument(f"device {source}: there is none in this folder")
        yield from found


def _rlimits(given: Iterable[str]) -> tuple[Rlimit, ...]:
    """The default for open files stays unless it is given."""
    files = Rlimit("RLIMIT_NOFILE", defaults.NOFILE, defaults.NOFILE)
    return tuple({limit.type: limit for limit in (files, *map(_rlimit, given))}.values())


def _rlimit(text: str) -> Rlimit:
    name, _, numbers = text.partition("=")
    soft, _, hard = numbers.partition(":")
    if name.lower() not in _LIMITS:
        raise InvalidArgument(f"ulimit {text!r}: there is no limit {name!r} (they are {', '.join(_LIMITS)})")
    made = Rlimit(f"RLIMIT_{name.upper()}", _limit(text, soft), _limit(text, hard or soft))
    if made.soft > made.hard:
        raise InvalidArgument(f"ulimit {text!r}: the soft limit is above the hard one (write NAME=SOFT:HARD)")
    return made


def _limit(text: str, number: str) -> int:
    if number in ("-1", "unlimited"):
        return _UNLIMITED
    if not (number.isascii() and number.isdigit()):
        raise InvalidArgument(f"ulimit {text!r}: write NAME=SOFT[:HARD] with numbers, or unlimited")
    return int(number)


def _sysctls(given: Iterable[str]) -> dict[str, str]:
    for text in given:
        if "=" not in text:
            raise InvalidArgument(f"sysctl {text!r}: write it as KEY=value")
    return words.pairs(given, "sysctl")


def _memory(given: Mapping[str, Any]) -> tuple[int | None, int | None]:
    """The most memory, and the most memory and swap together."""
    swap = given["memory_swap"]
    limit = words.size(given["memory"]) if given["memory"] else None
    both = None if not swap else _NO_LIMIT if swap == "-1" else words.size(swap)
    if both is not None and both != _NO_LIMIT and (limit is None or both < limit):
        raise InvalidArgument(f"memory-swap {swap!r}: it counts memory too, so it needs --memory, and no more of it")
    return limit, both


def _resources(given: Mapping[str, Any]) -> Resources:
    cpus = given["cpus"]
    memory, memory_swap = _memory(given)
    return Resources(
        cpu_shares=given["cpu_shares"] or DEFAULT_SHARES,
        cpu_quota=resources.quota(cpus) if cpus else None,
        cpu_period=resources.PERIOD if cpus else None,
        cpuset_cpus=given["cpuset_cpus"],
        memory=memory,
        memory_swap=memory_swap,
        pids=given["pids_limit"] or None,
    )


def _security(given: Mapping[str, Any]) -> Security:
    return Security(
        add=given["cap_add"],
        drop=given["cap_drop"],
        available=capabilities.of_this_process(),
        privileged=given["privileged"],
        no_new_privileges=not (given["allow_new_privs"] or given["privileged"]),
        seccomp=_seccomp(given["seccomp"]),
        apparmor=given["apparmor"],
    )


def _seccomp(word: str | None) -> seccomp.Default | Mapping[str, Any] | None:
    if word in (None, "unconfined"):
        return None
    return seccomp.Default() if word == "default" else seccomp.load(str(word))
