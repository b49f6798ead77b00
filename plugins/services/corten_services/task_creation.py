"""What a task is made of: container record, request and hooks put together to `CreateOptions`."""

import json
from collections.abc import Sequence
from typing import Any

from corten.api.services.tasks.v1 import tasks_pb2 as pb
from corten.api.types.runc.options.oci_pb2 import Options
from corten.contracts.metadata import Metadata
from corten.contracts.mounts import Mount
from corten.contracts.objects import AnyValue, Container, RuntimeInfo
from corten.contracts.runtime import CreateOptions
from corten.contracts.scope import Scope
from corten.errors import InvalidArgument
from corten.messages.tasks import stdio
from corten.messages.values import mounts, optional_any
from corten.plugin.hooks import HookRelay
from corten.pools import Pools
from google.protobuf.message import DecodeError

RESTORE_FROM_PATH = "RestoreFromPath"
"""Annotation of a checkpoint descriptor: restore from this folder rather than from a blob."""


class Ingredients:
    """Collects what creating a task needs, and changes nothing."""

    def __init__(self, metadata: Metadata, hooks: HookRelay, pools: Pools) -> None:
        self._metadata = metadata
        self._hooks = hooks
        self._pools = pools

    def container(self, scope: Scope, id: str) -> Container:
        """Raises NotFound."""
        return self._metadata.containers(scope).get(id)

    async def spec(self, namespace: str, container: Container) -> bytes:
        """The OCI spec as hooks leave it; parsed only when there are any. Raises InvalidArgument."""
        if container.spec is None or not container.spec.value:
            raise InvalidArgument(f'container "{container.id}": cannot create its task: it has no OCI spec')
        if not self._hooks.has("oci_spec"):
            return container.spec.value
        edited = await self._hooks.oci_spec(namespace, container, parsed(container))
        return json.dumps(edited, separators=(",", ":")).encode()

    async def rootfs(self, scope: Scope, container: Container, request: pb.CreateTaskRequest) -> Sequence[Mount]:
        """The mounts that the client sent, or those of the container's snapshot if it sent none."""
        if request.rootfs or not container.snapshot_key:
            return mounts(request.rootfs)
        snapshotter = self._metadata.snapshotter(scope, container.snapshotter)
        return await self._pools.run("snapshots", snapshotter.mounts, container.snapshot_key)


def parsed(container: Container) -> dict[str, Any]:
    """The OCI spec of a container. Raises InvalidArgument for what is not a JSON object."""
    try:
        spec = json.loads(container.spec.value if container.spec else b"")
    except ValueError as error:
        raise InvalidArgument(f'container "{container.id}": its OCI spec is not JSON: {error}') from error
    if not isinstance(spec, dict):
        raise InvalidArgument(f'container "{container.id}": its OCI spec is not a JSON object')
    return spec


def create_options(
    container: Container, request: pb.CreateTaskRequest, spec: bytes, rootfs: Sequence[Mount], checkpoint: str
) -> CreateOptions:
    """Options in the request replace those of the container."""
    options = optional_any(request, "options") or container.runtime.options
    runc = _runc_options(options) if options else Options()
    return CreateOptions(
        spec=spec,
        rootfs=rootfs,
        stdio=stdio(request),
        runtime=RuntimeInfo(container.runtime.name, options),
        runtime_path=request.runtime_path,
        checkpoint=checkpoint,
        sandbox_id=container.sandbox,
        task_address=request.task_api_address or runc.task_api_address,
        task_version=request.task_api_version or runc.task_api_version,
    )


def checkpoint_folder(request: pb.CreateTaskRequest) -> str:
    """A folder with a checkpoint that the client names itself; empty if it names none."""
    options = optional_any(request, "options")
    named = _runc_options(options).criu_image_path if options else ""
    return named or request.checkpoint.annotations.get(RESTORE_FROM_PATH, "")


def _runc_options(value: AnyValue) -> Options:
    """The options if they are runc's own; others are for the shim alone to read."""
    if value.type_url.rpartition("/")[2] != Options.DESCRIPTOR.full_name:
        return Options()
    try:
        return Options.FromString(value.value)
    except DecodeError as error:
        raise InvalidArgument(f"options of the task: they are no {value.type_url}: {error}") from error
