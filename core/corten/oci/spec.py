"""`build` makes the OCI runtime spec of a Linux container; `process` that of a further process in it."""

import posixpath
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from corten.errors import InvalidArgument

from . import capabilities, defaults
from .image_defaults import ImageDefaults
from .options import SpecMount, SpecOptions, User

Spec = dict[str, Any]

SPEC_TYPE = "types.containerd.io/opencontainers/runtime-spec/1/Spec"
"""Type URL under which containerd's clients keep a spec, as JSON, in an Any."""
PROCESS_TYPE = "types.containerd.io/opencontainers/runtime-spec/1/Process"

_HOST_FILES = ("/etc/hosts", "/etc/resolv.conf")


def build(namespace: str, id: str, options: SpecOptions, image: ImageDefaults | None = None) -> Spec:
    """A new document; the root is `rootfs` in the bundle.

    Raises InvalidArgument if there is nothing to run, for a relative directory, a bad mount, limit or capability.
    """
    image = image or ImageDefaults()
    spec: Spec = {
        "ociVersion": defaults.OCI_VERSION,
        "process": _init(options, image),
        "root": {"path": "rootfs", "readonly": True} if options.read_only else {"path": "rootfs"},
        "mounts": _mounts(options),
        "linux": _linux(namespace, id, options),
    }
    if options.hostname:
        spec["hostname"] = options.hostname
    if options.annotations:
        spec["annotations"] = dict(options.annotations)
    return spec


def process(
    spec: Mapping[str, Any],
    args: Sequence[str],
    *,
    env: Iterable[str] = (),
    cwd: str = "",
    user: User | None = None,
    terminal: bool = False,
) -> dict[str, Any]:
    """The process of an exec: that of the container's `spec` with these changes. Raises InvalidArgument as `build`."""
    base = spec.get("process") or {}
    if not args:
        raise InvalidArgument("there is nothing to run: give a command")
    changed = {
        **_copied(base),
        "args": list(args),
        "env": merged_env(base.get("env") or (), (*_term(base.get("env") or (), terminal), *env)),
        "cwd": _directory(cwd or base.get("cwd") or "/"),
        "terminal": terminal,
    }
    changed.pop("consoleSize", None)
    # Inheritable capabilities reach programs that run as other users (CVE-2022-24769); ambient ones need them.
    for kind in ("inheritable", "ambient"):
        (changed.get("capabilities") or {}).pop(kind, None)
    if user is not None:
        changed["user"] = _user(user)
    return changed


def command(options: SpecOptions, image: ImageDefaults) -> list[str]:
    """What will run: Entrypoint and Cmd of the image as changed by the options. Raises InvalidArgument if nothing."""
    if options.entrypoint is not None:
        args = [*options.entrypoint, *options.args]
    else:
        args = [*image.entrypoint, *(options.args or image.cmd)]
    if not args or not args[0]:
        raise InvalidArgument("there is nothing to run: the image names no command (give one after the image)")
    return args


def merged_env(base: Iterable[str], changes: Iterable[str]) -> list[str]:
    """`base` with each `KEY=value` set and each bare `KEY` removed; what was there keeps its place."""
    merged = {entry.partition("=")[0]: entry for entry in base}
    for entry in changes:
        key, equals, _ = entry.partition("=")
        if not key:
            raise InvalidArgument(f"environment {entry!r}: write KEY=value, or KEY to remove it")
        if equals:
            merged[key] = entry
        else:
            merged.pop(key, None)
    return list(merged.values())


def _init(options: SpecOptions, image: ImageDefaults) -> dict[str, Any]:
    base = image.env if any(entry.startswith("PATH=") for entry in image.env) else (defaults.PATH, *image.env)
    return {
        "terminal": options.terminal,
        "user": _user(options.user),
        "args": command(options, image),
        "env": merged_env(base, (*_term(base, options.terminal), *options.env)),
        "cwd": _directory(options.cwd or image.working_dir or "/"),
        "capabilities": _capabilities(options),
        "rlimits": defaults.rlimits(),
        "noNewPrivileges": not (options.new_privileges or options.privileged),
    }


def _term(env: Iterable[str], terminal: bool) -> tuple[str, ...]:
    return ("TERM=xterm",) if terminal and not any(entry.startswith("TERM=") for entry in env) else ()


def _user(user: User) -> dict[str, Any]:
    made: dict[str, Any] = {"uid": user.uid, "gid": user.gid}
    return {**made, "additionalGids": list(user.additional_gids)} if user.additional_gids else made


def _directory(path: str) -> str:
    if not path.startswith("/") or "\0" in path:
        raise InvalidArgument(f"working directory {path!r}: it must be an absolute path in the container")
    return path


def _capabilities(options: SpecOptions) -> dict[str, list[str]]:
    base = capabilities.ALL if options.privileged else defaults.CAPABILITIES
    names = capabilities.edited(base, options.cap_add, options.cap_drop)
    if options.available_capabilities:
        names = tuple(name for name in names if name in options.available_capabilities)
    return {kind: list(names) for kind in ("bounding", "effective", "permitted")}


def _mounts(options: SpecOptions) -> list[dict[str, Any]]:
    made = defaults.mounts()
    if options.privileged:
        for mount in made:
            if mount["destination"] == "/sys":
                mount["options"] = ["rw" if word == "ro" else word for word in mount["options"]]
    if options.host_network:
        made += [_mount(SpecMount(path, path, options=("rbind", "ro"))) for path in _HOST_FILES]
    extra = [_mount(mount) for mount in options.mounts]
    taken = {mount["destination"] for mount in extra}
    return [mount for mount in made if mount["destination"] not in taken] + extra


def _mount(mount: SpecMount) -> dict[str, Any]:
    if not mount.destination.startswith("/") or "\0" in mount.destination:
        raise InvalidArgument(f"mount at {mount.destination!r}: the destination must be an absolute path")
    if mount.type == "bind" and not mount.source.startswith("/"):
        raise InvalidArgument(f"mount at {mount.destination}: the source {mount.source!r} must be an absolute path")
    return {
        "destination": posixpath.normpath(mount.destination),
        "type": mount.type,
        "source": mount.source,
        "options": list(mount.options),
    }


def _linux(namespace: str, id: str, options: SpecOptions) -> dict[str, Any]:
    left_out = {"network"} if options.host_network else set()
    kinds = [kind for kind in defaults.NAMESPACES if kind not in left_out]
    linux: dict[str, Any] = {
        "resources": _resources(options),
        "cgroupsPath": options.cgroups_path or f"/{namespace}/{id}",
        "namespaces": [{"type": kind} for kind in (*kinds, *(("cgroup",) if options.cgroup_namespace else ()))],
    }
    if not options.privileged:
        linux |= {"maskedPaths": list(defaults.MASKED_PATHS), "readonlyPaths": list(defaults.READONLY_PATHS)}
    return linux


def _resources(options: SpecOptions) -> dict[str, Any]:
    if min(options.memory, options.cpu_shares, options.pids) < 0:
        raise InvalidArgument("a limit is negative: memory, shares and pids are 0 (for none) or more")
    cpu: dict[str, Any] = {"shares": options.cpu_shares or defaults.CPU_SHARES}
    if options.cpus:
        cpu |= {"quota": _quota(options.cpus), "period": defaults.CPU_PERIOD}
    made: dict[str, Any] = {
        "devices": defaults.all_devices() if options.privileged else defaults.device_rules(),
        "cpu": cpu,
    }
    if options.memory:
        made["memory"] = {"limit": options.memory}
    if options.pids:
        made["pids"] = {"limit": options.pids}
    return made


def _quota(cpus: float) -> int:
    if not 0.01 <= cpus <= 10_000_000:  # also refuses what is not a number
        raise InvalidArgument(f"cpus {cpus}: the kernel takes no less than 0.01 of a processor")
    return round(cpus * defaults.CPU_PERIOD)


def _copied(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _copied(item) for key, item in value.items()}
    return [_copied(item) for item in value] if isinstance(value, list) else value
