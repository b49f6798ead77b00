"""`build` makes the OCI runtime spec of a Linux container; `process` that of a further process in it."""

import copy
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from corten.errors import InvalidArgument

from . import confinement, defaults, devices, ids, mounts, resources
from .image_defaults import ImageDefaults
from .options import Hook, Namespaces, SpecOptions, User

Spec = dict[str, Any]

SPEC_TYPE = "types.containerd.io/opencontainers/runtime-spec/1/Spec"
"""Type URL under which containerd's clients keep a spec, as JSON, in an Any."""
PROCESS_TYPE = "types.containerd.io/opencontainers/runtime-spec/1/Process"

HOOKS = ("prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop")
_NAMESPACES = ("pid", "ipc", "uts", "mount", "network", "cgroup", "user", "time")


def build(namespace: str, id: str, options: SpecOptions, image: ImageDefaults | None = None) -> Spec:
    """A new document that shares nothing with any other; without options it is containerd's default one.

    Looks at no file. Raises InvalidArgument for a base that is no spec, if there is nothing to run, for a relative
    directory, a bad mount, limit, id mapping, hook, namespace or capability.
    """
    image = image or ImageDefaults()
    document = defaults.document(namespace, id) if options.base is None else _base(options.base)
    document["process"] = _init(document.get("process") or {}, options, image)
    document["root"] = _root(options)
    linux = _linux(document.get("linux") or {}, options)
    document["linux"] = linux
    document["mounts"] = _mounts(document.get("mounts") or [], linux, options)
    if options.base is not None or options.cgroups_path:
        linux["cgroupsPath"] = options.cgroups_path or f"/{namespace}/{id}"
    if options.hooks:
        document["hooks"] = {**(document.get("hooks") or {}), **_hooks(options.hooks)}
    if options.annotations:
        document["annotations"] = {**(document.get("annotations") or {}), **options.annotations}
    document |= {k: v for k, v in (("hostname", options.hostname), ("domainname", options.domainname)) if v}
    return confinement.applied(document, options.security)


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
        **copy.deepcopy(dict(base)),
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
        first = () if image.entrypoint == ("",) else image.entrypoint
        args = [*first, *(options.args or image.cmd)]
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


def _init(base: Mapping[str, Any], options: SpecOptions, image: ImageDefaults) -> dict[str, Any]:
    made = {
        **base,
        "terminal": options.terminal,
        "user": _user(options.user),
        "args": command(options, image),
        "env": _env(base, options, image),
        "cwd": _directory(options.cwd or image.working_dir or base.get("cwd") or "/"),
    }
    if options.rlimits is not None:
        made["rlimits"] = [{"type": r.type, "soft": r.soft, "hard": r.hard} for r in options.rlimits]
    if options.oom_score_adj is not None:
        made["oomScoreAdj"] = options.oom_score_adj
    return made


def _env(base: Mapping[str, Any], options: SpecOptions, image: ImageDefaults) -> list[str]:
    """What everybody has, then the image, then who asks: each may replace what those before it set."""
    first = [*(base.get("env") or ()), *options.default_env]
    below = merged_env(first, image.env)
    if not any(entry.startswith("PATH=") for entry in below):
        below.insert(0, defaults.PATH)
    return merged_env(below, (*_term(below, options.terminal), *options.env))


def _term(env: Iterable[str], terminal: bool) -> tuple[str, ...]:
    return ("TERM=xterm",) if terminal and not any(entry.startswith("TERM=") for entry in env) else ()


def _user(user: User) -> dict[str, Any]:
    made: dict[str, Any] = {"uid": user.uid, "gid": user.gid}
    if user.additional_gids:
        made["additionalGids"] = list(user.additional_gids)
    return made if user.umask is None else {**made, "umask": user.umask}


def _directory(path: str) -> str:
    if not path.startswith("/") or "\0" in path:
        raise InvalidArgument(f"working directory {path!r}: it must be an absolute path in the container")
    return path


_MAPPINGS = ("process", "linux", "hooks", "annotations")
_LISTS = (("", "mounts", "destination"), ("linux", "namespaces", "type"), ("linux", "devices", "path"))
"""Where a base has lists of objects, and the text that each of them must have."""


def _base(given: Mapping[str, Any]) -> Spec:
    """A copy, checked as far as it is read here; all else is for the runtime to judge."""
    for key in _MAPPINGS:
        if not isinstance(given.get(key) or {}, Mapping):
            raise InvalidArgument(f"base spec: {key} is not an object")
    for section, key, text in _LISTS:
        entries = ((given.get(section) or {}) if section else given).get(key) or []
        if not isinstance(entries, list) or not all(_has_text(entry, text) for entry in entries):
            raise InvalidArgument(f"base spec: {key} is not a list of objects that have a {text}")
    return copy.deepcopy(dict(given))


def _has_text(entry: object, key: str) -> bool:
    return isinstance(entry, Mapping) and isinstance(entry.get(key), str)


def _root(options: SpecOptions) -> dict[str, Any]:
    if not options.root or "\0" in options.root:
        raise InvalidArgument(f"root {options.root!r}: it must be a path")
    return {"path": options.root, "readonly": True} if options.read_only else {"path": options.root}


def _mounts(base: Sequence[dict[str, Any]], linux: Mapping[str, Any], options: SpecOptions) -> list[dict[str, Any]]:
    own = {entry["type"] for entry in linux.get("namespaces") or ()}
    pseudo = list(base)
    if options.shm_size is not None:
        pseudo = mounts.with_shm_size(pseudo, options.shm_size)
    if options.cgroup_mount:
        shared = () if "cgroup" in own else options.cgroup_mount_options
        pseudo.append(mounts.cgroup(options.cgroup_mount, shared))
    if "user" in own and "network" not in own:
        pseudo = [mounts.host_sys() if mount.get("type") == "sysfs" else mount for mount in pseudo]
    return mounts.overlaid(pseudo, options.mounts, options.without_mounts)


def _linux(base: Mapping[str, Any], options: SpecOptions) -> dict[str, Any]:
    linux = {**base, "resources": _resources(base.get("resources") or {}, options)}
    if options.namespaces is not None:
        linux |= _namespaces(options.namespaces)
    if options.devices:
        linux["devices"] = [*(base.get("devices") or ()), *devices.documents(options.devices)]
    if options.sysctls:
        linux["sysctl"] = {**(base.get("sysctl") or {}), **options.sysctls}
    if options.resources.rdt is not None:
        linux["intelRdt"] = resources.rdt(options.resources.rdt)
    if propagation := options.rootfs_propagation or mounts.propagation(options.mounts):
        linux["rootfsPropagation"] = propagation
    return linux


def _resources(base: Mapping[str, Any], options: SpecOptions) -> dict[str, Any]:
    made = resources.merged(base, resources.document(options.resources))
    if options.all_devices:
        made["devices"] = defaults.all_devices()
        return made
    default = defaults.device_rules() if options.default_devices else []
    if rules := [*(made.get("devices") or ()), *default, *devices.rules(options.devices)]:
        made["devices"] = rules
    return made


def _namespaces(wanted: Namespaces) -> dict[str, Any]:
    found = []
    for kind in _NAMESPACES:
        path = getattr(wanted, kind)
        if path is not None:
            if path and not path.startswith("/"):
                raise InvalidArgument(f"{kind} namespace {path!r}: give an absolute path, or nothing for a new one")
            found.append({"type": kind, "path": path} if path else {"type": kind})
    made: dict[str, Any] = {"namespaces": found}
    if wanted.uid_mappings or wanted.gid_mappings:
        if wanted.user is None:
            raise InvalidArgument("id mappings without a user namespace: ask for one")
        made |= {"uidMappings": ids.document(wanted.uid_mappings), "gidMappings": ids.document(wanted.gid_mappings)}
    return made


def _hooks(wanted: Mapping[str, tuple[Hook, ...]]) -> dict[str, Any]:
    for point, hooks in wanted.items():
        if point not in HOOKS:
            raise InvalidArgument(f"hook {point!r}: there is no such point (they are {', '.join(HOOKS)})")
        for hook in hooks:
            if not hook.path.startswith("/"):
                raise InvalidArgument(f"hook {point}: the program {hook.path!r} must be an absolute path")
    return {point: [_hook(hook) for hook in hooks] for point, hooks in wanted.items()}


def _hook(hook: Hook) -> dict[str, Any]:
    made: dict[str, Any] = {"path": hook.path}
    if hook.args:
        made["args"] = list(hook.args)
    if hook.env:
        made["env"] = list(hook.env)
    return {**made, "timeout": hook.timeout} if hook.timeout else made
