"""How records are kept: pods in the sandbox store, containers among containers, both with containerd's extensions.

What changes often, a container's status, is a small file beside its log settings: `<root>/containers/<id>/status`.
Methods block: call them in a pool.
"""

from __future__ import annotations

import json
import logging
import os
import threading
from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from corten import labels as label_rules
from corten.api.cri.v1 import runtime_pb2 as pb
from corten.contracts.metadata import Metadata
from corten.contracts.objects import AnyValue, RuntimeInfo, Sandbox
from corten.contracts.objects import Container as StoredContainer
from corten.contracts.sandboxes import SandboxStore
from corten.contracts.scope import Scope
from corten.errors import CortenError, DataLoss, mapped

from .. import messages
from ..contracts import NAMESPACE
from ..namespaces.model import Pins
from .containers import Container
from .pods import Pod, PodState

log = logging.getLogger(__name__)

KIND = "io.cri-containerd.kind"
POD_EXTENSION = "metadata"
OWN_EXTENSION = "io.corten.cri"
CONTAINER_EXTENSION = "io.cri-containerd.container.metadata"
POD_TYPE = "github.com/containerd/cri/pkg/store/sandbox/Metadata"
CONTAINER_TYPE = "github.com/containerd/cri/pkg/store/container/Metadata"
_SCOPE = Scope(NAMESPACE)
_STATUS = ("Pid", "CreatedAt", "StartedAt", "FinishedAt", "ExitCode", "Reason", "Message")


class CriStore:
    """Saves and loads records; `root` is the folder of the plugin."""

    def __init__(self, metadata: Metadata, sandboxes: SandboxStore, root: Path) -> None:
        self._metadata = metadata
        self._sandboxes = sandboxes
        self._root = root
        self._saving = threading.Lock()

    def create_pod(self, pod: Pod, runtime: RuntimeInfo) -> None:
        """Raises AlreadyExists."""
        self._sandboxes.create(NAMESPACE, replace(_sandbox(pod), runtime=runtime))

    def save_pod(self, pod: Pod) -> None:
        """Raises NotFound."""
        self._sandboxes.update(NAMESPACE, _sandbox(pod), ["extensions"])

    def delete_pod(self, id: str) -> None:
        """Raises NotFound."""
        self._sandboxes.delete(NAMESPACE, id)

    def pods(self) -> Iterator[Pod]:
        """Every pod that can be read; others are logged and left alone."""
        for sandbox in self._sandboxes.list(NAMESPACE):
            if POD_EXTENSION in sandbox.extensions:
                try:
                    yield _pod(sandbox)
                except CortenError as error:
                    log.warning("pod sandbox %s: its record cannot be read: %s", sandbox.id, error)

    def save_status(self, container: Container) -> None:
        """Replaces the status file, whole or not at all.

        A start and the exit of what it started may be saved in either order: an end that was saved stays.
        """
        folder = self._root / "containers" / container.id
        values = (container.pid, container.created_at, container.started_at, container.finished_at,
                  container.exit_code, container.reason, container.message)  # fmt: skip
        document = dict(zip(_STATUS, values, strict=True))
        if container.resources is not None:
            document["Resources"] = messages.document(container.resources)
        with self._saving, mapped(f'container "{container.id}": write its status'):
            if not container.finished_at and self._with_status(container).finished_at:
                return
            made = folder / "status.new"
            made.write_text(messages.text({"Version": "v1", **document}))
            os.replace(made, folder / "status")

    def containers(self) -> Iterator[tuple[Container, StoredContainer]]:
        """Every container that can be read, with its status as last written."""
        for stored in self._metadata.containers(_SCOPE).walk([f'labels."{KIND}"==container']):
            try:
                yield self._with_status(_container(stored)), stored
            except CortenError as error:
                log.warning("container %s: its record cannot be read: %s", stored.id, error)

    def _with_status(self, container: Container) -> Container:
        try:
            found = json.loads((self._root / "containers" / container.id / "status").read_text())
        except FileNotFoundError:
            return container
        except (OSError, ValueError) as error:
            log.warning("container %s: its status cannot be read: %s", container.id, error)
            return replace(container, unknown=True)
        return _with_status(container, found)


def extension(container: Container) -> AnyValue:
    """What `CONTAINER_EXTENSION` of the stored container holds."""
    body = {
        "ID": container.id,
        "Name": container.name,
        "SandboxID": container.pod_id,
        "Config": container.config,
        "ImageRef": container.image_id,
        "ImageDigest": container.image_ref,
        "ImageName": container.image_name,
        "LogPath": container.log_path,
        "StopSignal": container.stop_signal,
        "User": container.user,
        "VolumeImages": dict(container.volume_images),
        "CreatedAt": container.created_at,
    }
    return _any(CONTAINER_TYPE, {"Version": "v1", "Metadata": body})


def kept_labels(own: Mapping[str, str], kind: str) -> dict[str, str]:
    """Labels of a record that clients see: those of the request that fit, and the kind."""
    fit = {key: value for key, value in own.items() if len(key.encode()) + len(value.encode()) <= label_rules.MAX_SIZE}
    return {**fit, KIND: kind}


def pod_metadata(pod: Pod) -> dict[str, Any]:
    """What `POD_EXTENSION` of the stored sandbox holds, and a verbose status shows."""
    body = {
        "ID": pod.id,
        "Name": pod.name,
        "Config": pod.config,
        "NetNSPath": pod.pins.net,
        "IP": pod.addresses[0] if pod.addresses else "",
        "AdditionalIPs": list(pod.addresses[1:]),
        "RuntimeHandler": pod.requested_handler,
    }
    return {"Version": "v1", "Metadata": body}


def _sandbox(pod: Pod) -> Sandbox:
    own = {
        "Handler": pod.handler,
        "State": str(pod.state),
        "CreatedAt": pod.created_at,
        "Pins": asdict(pod.pins),
        "Pause": pod.pause,
        "Resources": pod.resources,
        "Overhead": pod.overhead,
    }
    return Sandbox(
        id=pod.id,
        sandboxer="podsandbox",
        labels=kept_labels(pod.config.labels, "sandbox"),
        extensions={
            POD_EXTENSION: _any(POD_TYPE, pod_metadata(pod)),
            OWN_EXTENSION: _any("io.corten.cri.v1/Pod", own),
        },
    )


def _pod(sandbox: Sandbox) -> Pod:
    what = f'pod sandbox "{sandbox.id}"'
    body = _loaded(sandbox.extensions[POD_EXTENSION], what).get("Metadata") or {}
    own = _loaded(sandbox.extensions[OWN_EXTENSION], what) if OWN_EXTENSION in sandbox.extensions else {}
    return Pod(
        id=sandbox.id,
        name=str(body.get("Name", "")),
        config=messages.parsed(pb.PodSandboxConfig, body.get("Config"), what),
        handler=str(own.get("Handler", "")),
        requested_handler=str(body.get("RuntimeHandler") or ""),
        state=PodState(own.get("State", PodState.NOTREADY)),
        created_at=int(own.get("CreatedAt") or sandbox.created_at),
        pins=Pins(**(own.get("Pins") or {})),
        addresses=tuple(each for each in (body.get("IP"), *(body.get("AdditionalIPs") or ())) if each),
        pause=str(own.get("Pause", "")),
        resources=_resources(own.get("Resources"), what),
        overhead=_resources(own.get("Overhead"), what),
    )


def _container(stored: StoredContainer) -> Container:
    what = f'container "{stored.id}"'
    if CONTAINER_EXTENSION not in stored.extensions:
        raise DataLoss(f"{what}: it has no extension {CONTAINER_EXTENSION}")
    body = _loaded(stored.extensions[CONTAINER_EXTENSION], what).get("Metadata") or {}
    user = body.get("User")
    return Container(
        id=stored.id,
        name=str(body.get("Name", "")),
        pod_id=str(body.get("SandboxID", "")),
        config=messages.parsed(pb.ContainerConfig, body.get("Config"), what),
        image_id=str(body.get("ImageRef", "")),
        image_ref=str(body.get("ImageDigest", "")),
        image_name=str(body.get("ImageName", "")),
        snapshotter=stored.snapshotter,
        stop_signal=str(body.get("StopSignal", "")),
        log_path=str(body.get("LogPath", "")),
        user=messages.parsed(pb.ContainerUser, user, what) if user else None,
        volume_images=dict(body.get("VolumeImages") or {}),
        created_at=int(body.get("CreatedAt") or stored.created_at),
    )


def _with_status(container: Container, found: Mapping[str, Any]) -> Container:
    pid, created, started, finished, code, reason, message = (found.get(key) for key in _STATUS)
    resources = found.get("Resources")
    return replace(
        container,
        pid=int(pid or 0),
        created_at=int(created or container.created_at),
        started_at=int(started or 0),
        finished_at=int(finished or 0),
        exit_code=int(code or 0),
        reason=str(reason or ""),
        message=str(message or ""),
        resources=messages.parsed(pb.ContainerResources, resources, container.id) if resources else None,
    )


def _resources(data: object, what: str) -> pb.LinuxContainerResources | None:
    return messages.parsed(pb.LinuxContainerResources, data, what) if data else None


def _any(type: str, body: Mapping[str, Any]) -> AnyValue:
    return AnyValue(type, messages.text(body).encode())


def _loaded(value: AnyValue, what: str) -> dict[str, Any]:
    try:
        found = json.loads(value.value)
    except ValueError as error:
        raise DataLoss(f"{what}: its record is not JSON: {error}") from error
    if not isinstance(found, dict):
        raise DataLoss(f"{what}: its record is not a JSON object")
    return found
