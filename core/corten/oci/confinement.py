"""What a process may do and see, laid over a spec: capabilities, seccomp, labels, masked paths."""

import copy
from collections.abc import Mapping
from typing import Any

from . import capabilities, mounts, seccomp
from .options import Security

_HELD = ("bounding", "effective", "permitted")


def applied(document: dict[str, Any], security: Security) -> dict[str, Any]:
    """`document`, changed in place. Raises InvalidArgument for an unknown capability."""
    process, linux = document["process"], document["linux"]
    process["capabilities"] = _capabilities(process.get("capabilities") or {}, security)
    if security.no_new_privileges is not None:
        process["noNewPrivileges"] = security.no_new_privileges
    for key, value in (("apparmorProfile", security.apparmor), ("selinuxLabel", security.selinux_label)):
        _set(process, key, value)
    _set(linux, "mountLabel", security.mount_label)
    _set(linux, "maskedPaths", None if security.masked_paths is None else list(security.masked_paths))
    _set(linux, "readonlyPaths", None if security.readonly_paths is None else list(security.readonly_paths))
    _set(linux, "seccomp", _seccomp(security, process["capabilities"]["bounding"]))
    return _opened(document) if security.privileged else document


def _opened(document: dict[str, Any]) -> dict[str, Any]:
    """Privileged: no sandbox is left but the namespaces."""
    for key in ("apparmorProfile", "selinuxLabel"):
        document["process"].pop(key, None)
    for key in ("maskedPaths", "readonlyPaths", "seccomp"):
        document["linux"].pop(key, None)
    document["mounts"] = mounts.writable(document["mounts"])
    return document


def _capabilities(base: Mapping[str, Any], security: Security) -> dict[str, list[str]]:
    names = capabilities.edited(
        capabilities.ALL if security.privileged else [n for n in base.get("bounding") or () if n in capabilities.ALL],
        security.add,
        security.drop,
    )
    if security.available:
        names = tuple(name for name in names if name in security.available)
    made = {kind: list(names) for kind in _HELD}
    # The kernel lets nothing be ambient that is not inheritable too; for that alone the set is not empty.
    if kept := [name for name in capabilities.edited((), security.ambient, ()) if name in names]:
        made |= {"inheritable": list(kept), "ambient": list(kept)}
    return made


def _seccomp(security: Security, held: list[str]) -> dict[str, Any] | None:
    if isinstance(security.seccomp, seccomp.Default):
        return {} if security.privileged else seccomp.document(security.seccomp, held)
    return None if security.seccomp is None else copy.deepcopy(dict(security.seccomp))


def _set(part: dict[str, Any], key: str, value: Any) -> None:
    """None keeps what is there, empty removes it."""
    if value is None:
        return
    if value or isinstance(value, list):
        part[key] = value
    else:
        part.pop(key, None)
