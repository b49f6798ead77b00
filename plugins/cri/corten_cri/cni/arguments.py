"""What plugins are told of a pod: CNI_ARGS and the values of capabilities, taken from the pod's configuration.

Names and forms are those of the CNI conventions (https://www.cni.dev/docs/conventions/) and of containerd.
"""

from collections.abc import Mapping
from typing import Any

from corten.api.cri.v1 import runtime_pb2 as pb
from corten.errors import InvalidArgument

from . import quantities

_INGRESS = "kubernetes.io/ingress-bandwidth"
_EGRESS = "kubernetes.io/egress-bandwidth"
_ANNOTATIONS = "io.kubernetes.cri.pod-annotations"
_BURST = (1 << 32) - 1
"""As much as a plugin can say: no bound on bursts was asked for."""
_RATE_MIN, _RATE_MAX = 1000, 10**15
"""Bits per second that make sense."""
_PROTOCOLS: Mapping[int, str] = {pb.TCP: "tcp", pb.UDP: "udp", pb.SCTP: "sctp"}


def arguments(id: str, config: pb.PodSandboxConfig) -> tuple[tuple[str, str], ...]:
    """For CNI_ARGS. Raises InvalidArgument for a value that would read as two."""
    metadata = config.metadata
    told = (
        ("IgnoreUnknown", "1"),
        ("K8S_POD_NAMESPACE", metadata.namespace),
        ("K8S_POD_NAME", metadata.name),
        ("K8S_POD_INFRA_CONTAINER_ID", id),
        ("K8S_POD_UID", metadata.uid),
    )
    for key, value in told:
        if ";" in value or "\0" in value:
            raise InvalidArgument(f"{key} {value!r}: a semicolon cannot be passed to CNI plugins")
    return told


def capabilities(config: pb.PodSandboxConfig) -> dict[str, Any]:
    """Values for `runtimeConfig`. Raises InvalidArgument for a bandwidth that makes no sense."""
    told: dict[str, Any] = {_ANNOTATIONS: dict(config.annotations)}
    if ports := port_mappings(config):
        told["portMappings"] = ports
    if band := bandwidth(config.annotations):
        told["bandwidth"] = band
    if config.HasField("dns_config"):
        dns = config.dns_config
        told["dns"] = {"servers": [*dns.servers], "searches": [*dns.searches], "options": [*dns.options]}
    if config.linux.cgroup_parent:
        told["cgroupPath"] = config.linux.cgroup_parent
    return told


def port_mappings(config: pb.PodSandboxConfig) -> list[dict[str, Any]]:
    """Those that have a port on the host."""
    return [
        {
            "hostPort": each.host_port,
            "containerPort": each.container_port,
            "protocol": _PROTOCOLS.get(each.protocol, "tcp"),
            "hostIP": each.host_ip,
        }
        for each in config.port_mappings
        if each.host_port > 0
    ]


def bandwidth(annotations: Mapping[str, str]) -> dict[str, int]:
    """Rates in bits per second."""
    told: dict[str, int] = {}
    for key, name in ((_INGRESS, "ingress"), (_EGRESS, "egress")):
        if key in annotations:
            told |= {f"{name}Rate": _rate(key, annotations[key]), f"{name}Burst": _BURST}
    return told


def _rate(key: str, text: str) -> int:
    try:
        rate = quantities.parse(text)
    except InvalidArgument as error:
        raise InvalidArgument(f"annotation {key}: {error.message}") from None
    if not _RATE_MIN <= rate <= _RATE_MAX:
        raise InvalidArgument(f"annotation {key}: {text} bit/s makes no sense (from 1k to 1P)")
    return rate
