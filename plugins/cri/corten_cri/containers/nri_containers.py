"""Containers as NRI plugins see them. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from corten.api.cri.v1 import runtime_pb2 as pb
from corten.contracts.nri import NriContainer, NriImage

from ..state.containers import Container
from .confinement import seccomp_word

_STATES: Mapping[int, str] = {
    pb.CONTAINER_CREATED: "created",
    pb.CONTAINER_RUNNING: "running",
    pb.CONTAINER_EXITED: "stopped",
}


def container(found: Container, spec: Mapping[str, Any]) -> NriContainer:
    return NriContainer(
        id=found.id,
        pod_id=found.pod_id,
        name=found.config.metadata.name,
        spec=spec,
        state=_STATES.get(found.wire_state, ""),
        labels=dict(found.config.labels),
        annotations=dict(found.config.annotations),
        pid=found.pid,
        created_at=found.created_at,
        started_at=found.started_at,
        finished_at=found.finished_at,
        exit_code=found.exit_code,
        reason=found.reason,
        message=found.message,
        cdi_devices=[device.name for device in found.config.CDI_devices],
        seccomp=seccomp_word(found.config.linux.security_context),
        image=NriImage(found.image_name, found.image_ref, found.image_id),
    )
