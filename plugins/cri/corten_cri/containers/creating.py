"""CreateContainer: a snapshot of the image, a spec, and a record, all or none of them.

A snapshot is made with a label that keeps it from gc, and named by the container; one whose container was never
recorded, because the daemon died in between, goes at the next start.
"""

from __future__ import annotations

import json
import logging
import posixpath
import secrets
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

from corten.api.cri.v1 import runtime_pb2 as pb
from corten.contracts.mounts import Mount
from corten.contracts.objects import AnyValue
from corten.contracts.objects import Container as StoredContainer
from corten.errors import AlreadyExists, CortenError, FailedPrecondition, InvalidArgument, NotFound
from corten.oci import spec
from corten.oci.image_defaults import container_labels, parse
from corten.oci.options import User
from corten.values import dataclass
from corten.wire.service import CallContext

from ..images.image import CriImage
from ..parts import SCOPE, Parts
from ..pods import nri_pods, wanted
from ..pods.pausing import Pausing
from ..state.containers import Container, name_of
from ..state.pods import Pod, PodState
from ..state.store import CONTAINER_EXTENSION, extension, kept_labels

# ruff: noqa: E402  (what is imported below exists on Linux only)
assert sys.platform != "win32"

from . import confinement, documents, folders, nri_containers, resources, signals, users, volumes
from .image_volumes import ImageVolumes
from .mounts import Wanted, all_mounts, places
from .removing import Removal

log = logging.getLogger(__name__)

SNAPSHOT_LABEL = "io.corten.cri.container"


@dataclass(frozen=True, slots=True)
class _Draft:
    """A container in the making."""

    pod: Pod
    pod_config: pb.PodSandboxConfig
    config: pb.ContainerConfig
    id: str
    name: str
    image: CriImage
    snapshotter: str


class Creation:
    """Makes containers."""

    def __init__(self, parts: Parts, removal: Removal, pausing: Pausing, image_volumes: ImageVolumes) -> None:
        self._parts = parts
        self._removal = removal
        self._pausing = pausing
        self._image_volumes = image_volumes
        self._users = users.Users(parts.state / "mounts")
        self._host = confinement.this_host(parts.config)

    async def create(self, request: pb.CreateContainerRequest, call: CallContext) -> str:
        """The id. Raises NotFound for pod and image, FailedPrecondition for a pod that is not ready, AlreadyExists,
        and what the request's fields are refused for."""
        pod = self._parts.pods.get(request.pod_sandbox_id)
        _check(request.config, pod)
        name = name_of(request.config, pod.config.metadata)
        return await self._parts.arrivals.make(
            f"container {name}",
            request.SerializeToString(deterministic=True),
            call,
            lambda: self._make(request, pod, name),
            lambda earlier: self._settle(request, pod, name, earlier),
        )

    async def _settle(
        self, request: pb.CreateContainerRequest, pod: Pod, name: str, earlier: bytes | None
    ) -> str | None:
        """What nobody was told of is given if it is the same and was never started; see `Arrivals`."""
        holder = self._parts.containers.holder(name)
        found = self._parts.containers.find(holder) if holder else None
        if found is None:
            return None
        if earlier is None:
            raise AlreadyExists(f'container name "{name}": it is taken by {found.id} (remove that first)')
        unused = found.wire_state == pb.CONTAINER_CREATED and not (found.starting or found.removing)
        if unused and found.pod_id == pod.id and found.config == request.config:
            return found.id
        await self._removal.remove(found.id)
        return None

    async def _make(self, request: pb.CreateContainerRequest, pod: Pod, name: str) -> str:
        parts, id = self._parts, secrets.token_hex(32)
        image = await parts.images.images.find(_image_of(request.config))
        pod_config = request.sandbox_config if request.HasField("sandbox_config") else pod.config
        draft = _Draft(pod, pod_config, request.config, id, name, image, parts.snapshotter(pod.handler))
        parts.containers.reserve(name, id)
        try:
            await parts.run(folders.make, parts, id)
            await self._snapshot_and_record(draft)
        except BaseException as error:
            log.info("container %s (%s): it could not be made: %s", id, name, error)
            await self._take_back(draft)
            raise
        log.info("container %s (%s) is created in pod sandbox %s", id, name, pod.id)
        return id

    async def _snapshot_and_record(self, draft: _Draft) -> None:
        parts = self._parts
        labels = {
            "containerd.io/gc.root": "container",
            SNAPSHOT_LABEL: draft.id,
            **wanted.id_labels(draft.pod.namespaces),
        }
        rootfs = await parts.images.images.prepare(SCOPE, draft.image, draft.id, draft.snapshotter, labels)
        pid_namespace = await self._pid_namespace(draft)
        document, container = await self._document(draft, rootfs, pid_namespace)
        async with parts.pod_locks.holding(draft.pod.id), parts.holding_nri():
            if (now := parts.pods.find(draft.pod.id)) is None or now.state is not PodState.READY:
                raise FailedPrecondition(f"pod sandbox {draft.pod.id}: it was stopped while the container was created")
            document = await self._adjusted(draft, container, document)
            await self._record(draft, replace(container, resources=resources.told(document)), document)

    async def _document(
        self, draft: _Draft, rootfs: Sequence[Mount], pid_namespace: str | None
    ) -> tuple[spec.Spec, Container]:
        parts, config = self._parts, draft.config
        mounted = await self._image_volumes.sources(draft.pod, config)
        asked = Wanted(
            config,
            await parts.handlers.features(draft.pod.handler),
            {place: source for place, (source, _) in mounted.items()},
            await self._volumes(draft, rootfs),
        )
        user, document = await parts.run(self._built, draft, rootfs, asked, pid_namespace)
        container = Container(
            id=draft.id,
            name=draft.name,
            pod_id=draft.pod.id,
            config=config,
            image_id=draft.image.id,
            image_ref=draft.image.target.digest,
            image_name=draft.image.name,
            snapshotter=draft.snapshotter,
            stop_signal=signals.wanted(config.stop_signal) or parse(draft.image.execution).stop_signal,
            log_path=_log_path(draft),
            volume_images={place: id for place, (_, id) in mounted.items()},
            user=users.message(user),
            created_at=time.time_ns(),
        )
        return document, container

    def _built(
        self, draft: _Draft, rootfs: Sequence[Mount], asked: Wanted, pid_namespace: str | None
    ) -> tuple[User, spec.Spec]:
        """Who it runs as, and its spec: all that blocks on files in one turn, for each costs a change of threads."""
        parts, config = self._parts, draft.config
        defaults = parse(draft.image.execution)
        user = self._users.resolve(config.linux.security_context, defaults.user, draft.image.id, rootfs)
        mounts = all_mounts(parts, draft.pod, asked)
        image_name = config.image.user_specified_image or draft.image.name
        given = documents.Ingredients(config, draft.pod_config, defaults, image_name, user, mounts, pid_namespace)
        return user, documents.build(parts, draft.pod, draft.id, self._host, given)

    async def _volumes(self, draft: _Draft, rootfs: Sequence[Mount]) -> Sequence[Any]:
        parts = self._parts
        if parts.config.ignore_image_defined_volumes:
            return ()
        named = volumes.named(draft.image.execution, places(draft.config.mounts))
        if not named:
            return ()
        folder = folders.kept(parts, draft.id) / "volumes"
        return await parts.run(volumes.make, folder, named, rootfs, parts.state / "mounts")

    async def _pid_namespace(self, draft: _Draft) -> str | None:
        """None for the host's, empty for a new one, else the path of the one to join."""
        options = draft.config.linux.security_context.namespace_options
        if options.pid == pb.NODE:
            return None
        if options.pid == pb.CONTAINER:
            return ""
        if options.pid == pb.TARGET:
            return f"/proc/{self._target(draft.pod, options.target_id).pid}/ns/pid"
        if draft.pod.namespaces.pid == pb.NODE:
            return None
        return f"/proc/{await self._pausing.ensure(draft.pod.id)}/ns/pid"

    def _target(self, pod: Pod, id: str) -> Container:
        target = self._parts.containers.get(id)
        if target.pod_id != pod.id:
            raise InvalidArgument(f'target container "{id}": it is in another pod sandbox, {target.pod_id}')
        if not target.running:
            raise FailedPrecondition(f'target container "{id}": it does not run')
        return target

    async def _adjusted(self, draft: _Draft, container: Container, document: spec.Spec) -> spec.Spec:
        """The spec with devices, and as NRI plugins want it."""
        parts, config = self._parts, draft.config
        devices = [device.name for device in config.CDI_devices]
        if devices and not parts.config.enable_cdi:
            raise InvalidArgument(f"CDI device {devices[0]!r}: CDI is disabled (enable_cdi)")
        if parts.config.enable_cdi:
            await parts.cdi.inject(document, devices, dict(config.annotations))
        if parts.nri is None:
            return document
        told = nri_containers.container(container, document)
        adjusted = await parts.nri.create_container(nri_pods.pod(parts, draft.pod), told)
        if adjusted.cdi_devices:
            await parts.cdi.inject(adjusted.spec, adjusted.cdi_devices, {})
        return adjusted.spec

    async def _record(self, draft: _Draft, container: Container, document: spec.Spec) -> None:
        parts = self._parts
        text = json.dumps(document, separators=(",", ":")).encode()
        labels = kept_labels({**container_labels(parse(draft.image.execution)), **draft.config.labels}, "container")
        stored = StoredContainer(
            id=draft.id,
            labels=labels,
            image=draft.image.name,
            runtime=parts.handlers.runtime_info(draft.pod.handler),
            spec=AnyValue(spec.SPEC_TYPE, text),
            snapshotter=draft.snapshotter,
            snapshot_key=draft.id,
            sandbox=draft.pod.id,
            extensions={CONTAINER_EXTENSION: extension(container)},
        )
        try:
            await parts.run(parts.store.save_status, container)
            await parts.stored(parts.metadata.containers(SCOPE).create, stored)
        except BaseException:
            if parts.nri is not None:
                told = nri_containers.container(container, document)
                await parts.nri.undo_create_container(nri_pods.pod(parts, draft.pod), told)
            raise
        parts.containers.put(container)
        parts.events.publish(pb.CONTAINER_CREATED_EVENT, container.id, container.pod_id)
        if parts.nri is not None:
            await _logged(parts.nri.post_create_container(
                nri_pods.pod(parts, draft.pod), nri_containers.container(container, document)
            ))  # fmt: skip

    async def _take_back(self, draft: _Draft) -> None:
        parts = self._parts
        parts.containers.drop(draft.id)
        try:
            with suppress(NotFound):
                await parts.stored(parts.metadata.containers(SCOPE).delete, draft.id)
            with suppress(NotFound):
                snapshots = parts.metadata.snapshotter(SCOPE, draft.snapshotter)
                await parts.pools.run("snapshots", snapshots.remove, draft.id)
            await parts.run(folders.remove, parts, draft.id)
        except CortenError as error:
            log.warning("container %s: what was made of it goes at the next start: %s", draft.id, error)
        parts.containers.release(draft.name, draft.id)


async def _logged(step: Any) -> None:
    """What only observes must not refuse."""
    try:
        await step
    except CortenError as error:
        log.warning("NRI: %s", error)


def _check(config: pb.ContainerConfig, pod: Pod) -> None:
    if not config.metadata.name:
        raise InvalidArgument("container: the request has no metadata with a name")
    if pod.state is not PodState.READY:
        raise FailedPrecondition(f"pod sandbox {pod.id}: it is not ready, so that no container can be created in it")
    own = config.linux.security_context.namespace_options.userns_options
    if (own.mode, list(own.uids), list(own.gids)) != (
        pod.namespaces.userns_options.mode,
        list(pod.namespaces.userns_options.uids),
        list(pod.namespaces.userns_options.gids),
    ):
        raise InvalidArgument(f'container "{config.metadata.name}": its user namespace differs from its pod sandbox\'s')
    if stop := signals.wanted(config.stop_signal):
        signals.number(stop)
    if "\0" in config.log_path:
        raise InvalidArgument(f"log_path {config.log_path!r}: there is a NUL in it")


def _image_of(config: pb.ContainerConfig) -> str:
    if not config.image.image:
        raise InvalidArgument(f'container "{config.metadata.name}": the request names no image')
    return str(config.image.image)


def _log_path(draft: _Draft) -> str:
    if not (draft.pod_config.log_directory and draft.config.log_path):
        return ""
    return posixpath.join(draft.pod_config.log_directory, draft.config.log_path)
