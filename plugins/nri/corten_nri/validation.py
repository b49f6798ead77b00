"""The built-in validator: what the node's owner lets plugins do to containers, by the settings."""

from collections.abc import Iterable, Mapping

from corten.api.nri.v1alpha1 import nri_pb2 as pb
from corten.errors import InvalidArgument, PermissionDenied

from .claims import Owners
from .config import ValidatorConfig

REQUIRED = "required-plugins.noderesource.dev"
"""Annotation of pods: YAML list of plugins without which their containers are not made."""
_TRUE = frozenset({"1", "t", "T", "TRUE", "true", "True"})
_FALSE = frozenset({"0", "f", "F", "FALSE", "false", "False"})


def validate(
    config: ValidatorConfig, pod: pb.PodSandbox, container: pb.Container, owners: Owners, plugins: Iterable[str]
) -> None:
    """`plugins` are those that were asked, by `IDX-NAME`. Raises PermissionDenied, InvalidArgument."""
    id = container.id
    if config.reject_oci_hook_adjustment and (found := owners.of(id, pb.OciHooks)):
        _refuse(container, "OCI hooks", found)
    if _seccomp_is_refused(config, container) and (found := owners.of(id, pb.SeccompPolicy)):
        _refuse(container, "another seccomp policy", found)
    if config.reject_namespace_adjustment and (found := owners.of(id, pb.Namespace)):
        _refuse(container, "other namespaces", found)
    if config.reject_sysctl_adjustment and (found := owners.of(id, pb.Sysctl)):
        _refuse(container, "sysctls", found)
    _require_plugins(config, pod, container, plugins)


def _refuse(container: pb.Container, what: str, owners: Mapping[str, str]) -> None:
    who = ", ".join(sorted(set(owners.values())))
    raise PermissionDenied(
        f"NRI: container {container.name or container.id}: {what} by plugin {who}: the settings of "
        "default_validator forbid it"
    )


def _seccomp_is_refused(config: ValidatorConfig, container: pb.Container) -> bool:
    profile = container.linux.seccomp_profile
    if not container.linux.HasField("seccomp_profile") or profile.profile_type == pb.SecurityProfile.UNCONFINED:
        return config.reject_unconfined_seccomp_adjustment
    if profile.profile_type == pb.SecurityProfile.RUNTIME_DEFAULT:
        return config.reject_runtime_default_seccomp_adjustment
    return config.reject_custom_seccomp_adjustment


def _require_plugins(
    config: ValidatorConfig, pod: pb.PodSandbox, container: pb.Container, plugins: Iterable[str]
) -> None:
    tolerate = config.tolerate_missing_plugins_annotation
    if tolerate and (text := effective(pod, tolerate, container.name)) is not None:
        if text not in _TRUE | _FALSE:
            raise InvalidArgument(f"NRI: annotation {tolerate}: {text[:80]!r} is neither true nor false")
        if text in _TRUE:
            return
    required = [*config.required_plugins, *_annotated(pod, container)]
    there = {name for full in plugins for name in (full, full.partition("-")[2])}
    if missing := [name for name in required if name not in there]:
        raise PermissionDenied(
            f"NRI: container {container.name or container.id}: required plugin {', '.join(missing)} is not connected"
        )


def _annotated(pod: pb.PodSandbox, container: pb.Container) -> list[str]:
    text = effective(pod, REQUIRED, container.name)
    if text is None:
        return []
    import yaml  # only when it is needed

    try:
        found = yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError) as error:
        raise InvalidArgument(f"NRI: annotation {REQUIRED}: it is not YAML: {error}") from error
    if not isinstance(found, list) or not all(isinstance(each, str) for each in found):
        raise InvalidArgument(f"NRI: annotation {REQUIRED}: it is not a list of names")
    return found


def effective(pod: pb.PodSandbox, key: str, container: str) -> str | None:
    """The annotation for one container, else for the pod."""
    keys = (f"{key}/container.{container}", f"{key}/pod", key)
    return next((pod.annotations[each] for each in keys if each in pod.annotations), None)
