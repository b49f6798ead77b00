"""What a container may do, as its security context says: capabilities, seccomp, AppArmor, SELinux, paths.

What the host cannot enforce is refused, never left out silently.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from corten.api.cri.v1 import runtime_pb2 as pb
from corten.errors import FailedPrecondition, InvalidArgument, NotFound
from corten.linux import apparmor
from corten.oci import capabilities, seccomp
from corten.oci.options import Security
from corten.values import dataclass

from ..config.runtime import RuntimeConfig

_LOCALHOST = "localhost/"
_SELINUX = "/sys/fs/selinux/enforce"
DEFAULT_APPARMOR = "cri-containerd.apparmor.d"


@dataclass(frozen=True, slots=True)
class Host:
    """What this host enforces; found out once."""

    apparmor: bool = False
    selinux: bool = False
    seccomp: bool = True
    capabilities: tuple[str, ...] = ()


def this_host(config: RuntimeConfig) -> Host:
    """Reads a few files below /sys and /proc."""
    return Host(
        apparmor=not config.disable_apparmor and apparmor.enabled(),
        selinux=config.enable_selinux and os.path.exists(_SELINUX),
        seccomp=os.path.exists("/proc/sys/kernel/seccomp/actions_avail"),
        capabilities=capabilities.of_this_process(),
    )


def of_container(context: pb.LinuxContainerSecurityContext, config: RuntimeConfig, host: Host, base: bool) -> Security:
    """Blocks on a profile's file. `base`: the handler has a base spec, whose settings stay where none are asked for.

    Raises InvalidArgument, NotFound for a profile, FailedPrecondition for what this host does not have.
    """
    privileged = context.privileged
    caps = context.capabilities
    profile = _seccomp(context, config, host)
    masked, readonly = _paths(context, config)
    return Security(
        add=_names(caps.add_capabilities),
        drop=_names(caps.drop_capabilities),
        ambient=tuple(caps.add_ambient_capabilities),
        available=host.capabilities,
        privileged=privileged,
        no_new_privileges=context.no_new_privs,
        seccomp=None if base and profile is None else profile or {},
        apparmor=_apparmor(context, host),
        selinux_label=_selinux(context, host),
        masked_paths=masked,
        readonly_paths=readonly,
    )


def seccomp_word(context: pb.LinuxContainerSecurityContext) -> str:
    """The profile as NRI plugins are told of it."""
    if not context.HasField("seccomp"):
        return context.seccomp_profile_path
    return {
        pb.SecurityProfile.RuntimeDefault: "runtime/default",
        pb.SecurityProfile.Unconfined: "unconfined",
    }.get(context.seccomp.profile_type, f"{_LOCALHOST}{context.seccomp.localhost_ref}")


def _names(given: Any) -> tuple[str, ...]:
    return tuple(str(name) for name in given)


def _paths(
    context: pb.LinuxContainerSecurityContext, config: RuntimeConfig
) -> tuple[tuple[str, ...] | None, tuple[str, ...] | None]:
    """Those of the request replace the default ones, none among them; unless the settings say not to look."""
    if config.disable_proc_mount:
        return None, None
    for path in (*context.masked_paths, *context.readonly_paths):
        if not path.startswith("/"):
            raise InvalidArgument(f"masked or read-only path {path!r}: it must be absolute")
    return tuple(context.masked_paths), tuple(context.readonly_paths)


def _profile(given: pb.SecurityProfile | None, text: str) -> tuple[int, str] | None:
    """Type and reference: of the field, or else of the older text. None for none."""
    if given is not None:
        if given.profile_type != pb.SecurityProfile.Localhost and given.localhost_ref:
            raise InvalidArgument(f"security profile: localhost_ref {given.localhost_ref!r} goes with Localhost only")
        return given.profile_type, given.localhost_ref.removeprefix(_LOCALHOST)
    if not text:
        return None
    if text in ("runtime/default", "docker/default"):
        return int(pb.SecurityProfile.RuntimeDefault), ""
    if text == "unconfined":
        return int(pb.SecurityProfile.Unconfined), ""
    if text.startswith(_LOCALHOST):
        return int(pb.SecurityProfile.Localhost), text.removeprefix(_LOCALHOST)
    raise InvalidArgument(f"security profile {text!r}: write runtime/default, unconfined or localhost/FILE")


def _seccomp(
    context: pb.LinuxContainerSecurityContext, config: RuntimeConfig, host: Host
) -> seccomp.Default | Mapping[str, Any] | None:
    given = context.seccomp if context.HasField("seccomp") else None
    profile = _profile(given, context.seccomp_profile_path or config.unset_seccomp_profile)
    if context.privileged or profile is None or profile[0] == pb.SecurityProfile.Unconfined:
        return None
    if not host.seccomp:
        raise FailedPrecondition("seccomp profile: the kernel of this host has no seccomp (write unconfined)")
    if profile[0] == pb.SecurityProfile.RuntimeDefault:
        return seccomp.Default()
    if not profile[1]:
        raise InvalidArgument("seccomp profile: Localhost needs localhost_ref, the path of the profile")
    return seccomp.load(profile[1])


def _apparmor(context: pb.LinuxContainerSecurityContext, host: Host) -> str | None:
    given = context.apparmor if context.HasField("apparmor") else None
    profile = _profile(given, context.apparmor_profile)
    if not host.apparmor:
        if profile is not None and profile[0] != pb.SecurityProfile.Unconfined:
            raise FailedPrecondition("AppArmor profile: AppArmor is not enabled on this host (write unconfined)")
        return None
    kind, name = profile or (int(pb.SecurityProfile.RuntimeDefault), "")
    if kind == pb.SecurityProfile.Unconfined:
        return None
    if kind == pb.SecurityProfile.RuntimeDefault:
        return None if context.privileged else _default()
    return _loaded(name)


def _loaded(profile: str) -> str:
    if not apparmor.loaded(profile):
        raise NotFound(f"AppArmor profile {profile!r}: it is not loaded (apparmor_parser loads it)")
    return profile


def _default() -> str:
    apparmor.ensure(DEFAULT_APPARMOR)
    return DEFAULT_APPARMOR


def _selinux(context: pb.LinuxContainerSecurityContext, host: Host) -> str | None:
    """Labels of the request; a host without SELinux ignores them, as the kubelet sends them to any."""
    options = context.selinux_options
    if not host.selinux or not options.type:
        return None
    return ":".join((options.user or "system_u", options.role or "system_r", options.type, options.level or "s0"))
