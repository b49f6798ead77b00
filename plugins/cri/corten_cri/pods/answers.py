"""Pods as messages: the item of a list, the status, and the verbose document. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from corten.api.cri.v1 import runtime_pb2 as pb
from corten.contracts.objects import RuntimeInfo

from .. import messages
from ..state.pods import Pod
from ..state.store import pod_metadata


def item(pod: Pod) -> pb.PodSandbox:
    return pb.PodSandbox(
        id=pod.id,
        metadata=pod.config.metadata,
        state=pb.PodSandboxState.Name(pod.wire_state),
        created_at=pod.created_at,
        labels=pod.config.labels,
        annotations=pod.config.annotations,
        runtime_handler=pod.requested_handler,
    )


def status(pod: Pod) -> pb.PodSandboxStatus:
    """A pod that is not ready has no addresses any more."""
    addresses = pod.addresses if pod.wire_state == pb.SANDBOX_READY else ()
    return pb.PodSandboxStatus(
        id=pod.id,
        metadata=pod.config.metadata,
        state=pb.PodSandboxState.Name(pod.wire_state),
        created_at=pod.created_at,
        network=pb.PodSandboxNetworkStatus(
            ip=addresses[0] if addresses else "",
            additional_ips=[pb.PodIP(ip=address) for address in addresses[1:]],
        ),
        linux=pb.LinuxPodSandboxStatus(namespaces=pb.Namespace(options=pod.namespaces)),
        labels=pod.config.labels,
        annotations=pod.config.annotations,
        runtime_handler=pod.requested_handler,
    )


def matches(pod: Pod, wanted: pb.PodSandboxFilter) -> bool:
    """By beginning of an id, state and labels; all that are given."""
    return (
        pod.id.startswith(wanted.id)
        and (not wanted.HasField("state") or pod.wire_state == wanted.state.state)
        and all(pod.config.labels.get(key) == value for key, value in wanted.label_selector.items())
    )


def info(
    pod: Pod,
    runtime: RuntimeInfo,
    pid: int,
    gone: list[str],
    network: Mapping[str, Any] | None,
    spec: Mapping[str, Any],
) -> str:
    """The document that tools read; keys are containerd's. `pid` is 0 for a pod without a pause process."""
    metadata = pod_metadata(pod)
    metadata["Metadata"] |= {"CNIResult": network, "ProcessLabel": ""}
    return messages.text({
        "pid": pid,
        "processStatus": ("running" if pid else "") if pod.wire_state == pb.SANDBOX_READY else "deleted",
        "netNamespaceClosed": bool(pod.pins.net and pod.pins.net in gone),
        "image": "",
        "snapshotKey": "",
        "snapshotter": "",
        "runtimeHandler": pod.requested_handler,
        "runtimeType": runtime.name,
        "runtimeOptions": {"type_url": runtime.options.type_url} if runtime.options else None,
        "config": pod.config,
        "runtimeSpec": spec,
        "cniResult": network,
        "overhead": {"linux": pod.overhead} if pod.overhead else None,
        "resources": {"linux": pod.resources} if pod.resources else None,
        "sandboxMetadata": metadata,
    })  # fmt: skip
