"""Containers as messages: the item of a list, the status, and the verbose document. Pure."""

from __future__ import annotations

import json
from typing import Any

from corten.api.cri.v1 import runtime_pb2 as pb
from corten.contracts.objects import Container as StoredContainer

from .. import messages
from ..images.image import CriImage
from ..images.names import tags_and_digests
from ..state.containers import EXITED_COMPLETED, EXITED_ERROR, Container
from . import signals


def item(container: Container) -> pb.Container:
    return pb.Container(
        id=container.id,
        pod_sandbox_id=container.pod_id,
        metadata=container.config.metadata,
        image=container.config.image,
        image_ref=container.image_id,
        image_id=container.image_id,
        state=pb.ContainerState.Name(container.wire_state),
        created_at=container.created_at,
        labels=container.config.labels,
        annotations=container.config.annotations,
    )


def status(container: Container, image: CriImage | None) -> pb.ContainerStatus:
    """`image` is that of the container if it is still there: its names may have changed since."""
    state = container.wire_state
    tags, digests = tags_and_digests(image.references) if image else ([], [])
    started = state != pb.CONTAINER_CREATED
    ended = state in (pb.CONTAINER_EXITED, pb.CONTAINER_UNKNOWN)
    return pb.ContainerStatus(
        id=container.id,
        metadata=container.config.metadata,
        state=pb.ContainerState.Name(state),
        created_at=container.created_at,
        started_at=container.started_at if started else 0,
        finished_at=container.finished_at if ended else 0,
        exit_code=container.exit_code,
        image=pb.ImageSpec(image=tags[0]) if tags else container.config.image,
        image_ref=digests[0] if digests else container.image_id,
        image_id=container.image_id,
        reason=_reason(container),
        message=container.message,
        labels=container.config.labels,
        annotations=container.config.annotations,
        mounts=_mounts(container),
        log_path=container.log_path,
        resources=container.resources,
        user=container.user,
        stop_signal=pb.Signal.Name(_stop_signal(container)),
    )


def matches(container: Container, wanted: pb.ContainerFilter, pod_id: str) -> bool:
    """By beginning of an id, pod, state and labels; all that are given. `pod_id` is that of the filter, whole."""
    return (
        container.id.startswith(wanted.id)
        and (not pod_id or container.pod_id.startswith(pod_id))
        and (not wanted.HasField("state") or container.wire_state == wanted.state.state)
        and all(container.config.labels.get(key) == value for key, value in wanted.label_selector.items())
    )


def info(container: Container, stored: StoredContainer) -> str:
    """The document that tools read; keys are containerd's."""
    options = stored.runtime.options
    return messages.text({
        "sandboxID": container.pod_id,
        "pid": container.pid if container.running else 0,
        "removing": container.removing,
        "snapshotKey": stored.snapshot_key,
        "snapshotter": stored.snapshotter,
        "runtimeType": stored.runtime.name,
        "runtimeOptions": {"type_url": options.type_url} if options else None,
        "config": _config(container.config),
        "runtimeSpec": json.loads(stored.spec.value) if stored.spec and stored.spec.value else None,
    })  # fmt: skip


def _config(config: pb.ContainerConfig) -> dict[str, Any]:
    """The request's, with values of the environment as text; what is no UTF-8 is replaced, as by containerd."""
    shown = messages.document(config)
    if config.envs:
        shown["envs"] = [{"key": each.key, "value": each.value.decode(errors="replace")} for each in config.envs]
    return shown


def _mounts(container: Container) -> list[pb.Mount]:
    """Those of the request; a mounted image with the id that its name had when the container was made."""
    mounts = []
    for mount in container.config.mounts:
        told = pb.Mount()
        told.CopyFrom(mount)
        if id := container.volume_images.get(mount.container_path):
            told.image.image_ref = id
        mounts.append(told)
    return mounts


def _reason(container: Container) -> str:
    if container.wire_state == pb.CONTAINER_EXITED and not container.reason:
        return EXITED_ERROR if container.exit_code else EXITED_COMPLETED
    return container.reason


def _stop_signal(container: Container) -> int:
    if container.config.stop_signal != pb.RUNTIME_DEFAULT:
        return int(container.config.stop_signal)
    return signals.told(container.stop_signal) if container.stop_signal else int(pb.SIGTERM)
