"""CheckpointContainer: a container's processes as they are, by criu, with all that is needed to look at them later.

The archive is a tar in the form of containerd's and CRI-O's: `checkpoint/` (criu's images), `config.dump`, `spec.dump`,
`status.dump`, `rootfs-diff.tar` (what the container changed in its image) and `container.log`.
"""

from __future__ import annotations

import asyncio
import datetime
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, cast

from corten.api.cri.v1 import runtime_pb2 as pb
from corten.errors import CortenError, DeadlineExceeded, FailedPrecondition, InvalidArgument, NotFound, mapped
from corten.gc_expiry import EXPIRE, expiry_time
from corten.wire.service import CallContext

from . import messages
from .parts import SCOPE, Parts
from .state.containers import Container

# ruff: noqa: E402  (what is imported below exists on Linux only)
assert sys.platform != "win32"

from .containers import answers
from .containers.specs import spec_of

if TYPE_CHECKING:
    from corten.contracts.diff import Differ
    from corten.contracts.scope import Scope

DEFAULT_TIMEOUT = 600.0
"""Seconds for a checkpoint whose request names no time."""
_DIFFER = "io.containerd.service.v1.diff-service"
_TAR = "application/vnd.oci.image.layer.v1.tar"


class Checkpoints:
    """Refused, with the reason, where criu cannot."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def checkpoint_container(
        self, request: pb.CheckpointContainerRequest, call: CallContext
    ) -> pb.CheckpointContainerResponse:
        """The container runs on. Raises FailedPrecondition, InvalidArgument, DeadlineExceeded."""
        container = self._parts.containers.get(request.container_id)
        what = f"checkpoint of container {container.id}"
        if not self._parts.config.enable_criu:
            raise FailedPrecondition(f"{what}: checkpoints are switched off (enable_criu)")
        if why := await self._parts.run(criu_cannot):
            raise FailedPrecondition(f"{what}: criu cannot work on this host: {why}")
        if not container.running:
            raise FailedPrecondition(f"{what}: it does not run, and only what runs can be checkpointed")
        if not os.path.isabs(request.location):
            raise InvalidArgument(f"{what}: its location {request.location[:200]!r} is not an absolute path")
        timeout = float(request.timeout) or DEFAULT_TIMEOUT
        try:
            with self._parts.timers.call("container_checkpoint", self._parts.runtime_of(container.pod_id)):
                await asyncio.wait_for(self._write(container, request.location), timeout)
        except TimeoutError:
            raise DeadlineExceeded(f"{what}: it was not done in {timeout:g} s") from None
        except CortenError as error:
            raise type(error)(f"{what}: {error.message}") from error
        return pb.CheckpointContainerResponse()

    async def _write(self, container: Container, location: str) -> None:
        parts = self._parts
        folder = Path(await parts.run(tempfile.mkdtemp, None, f"checkpoint-{container.id[:12]}-", str(parts.state)))
        try:
            await (await parts.task(container.id)).checkpoint(str(folder / "checkpoint"), None)
            await parts.pools.run("diff", self._changed_files, container, folder / "rootfs-diff.tar")
            await parts.run(self._documents, container, folder)
            await parts.run(_pack, folder, Path(location))
        finally:
            await parts.run(shutil.rmtree, folder, True)

    def _documents(self, container: Container, folder: Path) -> None:
        """What tools read of a checkpoint."""
        stored = self._parts.metadata.containers(SCOPE).get(container.id)
        now = datetime.datetime.now(datetime.UTC).isoformat()
        config = {
            "id": container.id,
            "name": container.name,
            "rootfsImage": container.image_name,
            "rootfsImageName": container.image_name,
            "rootfsImageRef": container.image_ref,
            "runtime": stored.runtime.name,
            "checkpointedTime": now,
            "createdTime": datetime.datetime.fromtimestamp(container.created_at / 1e9, datetime.UTC).isoformat(),
        }
        (folder / "config.dump").write_text(messages.text(config))
        (folder / "spec.dump").write_text(messages.text(spec_of(self._parts, container.id)))
        (folder / "status.dump").write_text(messages.text(messages.document(answers.status(container, None))))
        if container.log_path and os.path.isfile(container.log_path) and not os.path.islink(container.log_path):
            shutil.copyfile(container.log_path, folder / "container.log", follow_symlinks=False)

    def _changed_files(self, container: Container, target: Path) -> None:
        """What the container has that its image has not, as a tar."""
        view = self._parts.plugins.get(_DIFFER)
        differ = cast("Differ | None", view.instance if view else None)
        if differ is None:
            raise FailedPrecondition(f"checkpoint of container {container.id}: {_DIFFER} is needed and not there")
        with self._leased() as scope:
            self._compare(container, target, differ, scope)

    def _compare(self, container: Container, target: Path, differ: Differ, scope: Scope) -> None:
        snapshots = self._parts.metadata.snapshotter(scope, container.snapshotter)
        content, key = self._parts.metadata.content(scope), f"checkpoint-{container.id}"
        lower = snapshots.view(key, snapshots.stat(container.id).parent)
        try:
            layer = differ.compare(lower, snapshots.mounts(container.id), content, media_type=_TAR)
        finally:
            snapshots.remove(key)
        with content.reader(layer.digest) as reader, target.open("wb") as file:
            for offset in range(0, reader.size, 1 << 20):
                file.write(reader.read_at(offset, 1 << 20))
        try:
            content.delete(layer.digest)
        except NotFound:
            return

    @contextmanager
    def _leased(self) -> Iterator[Scope]:
        """With a lease, so that a collection meanwhile takes nothing of what is made; it ends in a day in any case."""
        lease = self._parts.leases.create(SCOPE.namespace, "", {EXPIRE: expiry_time(24 * 3600)})
        try:
            yield replace(SCOPE, lease=lease.id)
        finally:
            self._parts.leases.delete(SCOPE.namespace, lease.id)


@cache
def criu_cannot() -> str:
    """Why not; empty if it can. Blocks for a moment, once."""
    if shutil.which("criu") is None:
        return "it is not installed"
    check = partial(subprocess.run, ["criu", "check"], capture_output=True, text=True, timeout=30, check=False)
    try:
        done = check()
    except (OSError, subprocess.SubprocessError) as error:
        return f"`criu check`: {error}"
    last = ([line for line in done.stderr.splitlines() if "rror" in line] or [done.stdout])[-1].strip()
    return "" if done.returncode == 0 else f"`criu check` says: {last[:400] or done.returncode}"


def _pack(folder: Path, location: Path) -> None:
    """The archive appears whole, readable for its owner only; no symlink at its place is followed."""
    beside = location.with_name(f".{location.name}.part")
    try:
        with mapped(f"checkpoint {location}: cannot write"):
            descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            with open(descriptor, "wb") as file, tarfile.open(fileobj=file, mode="w") as archive:
                archive.add(folder, ".")
            os.replace(beside, location)
    except CortenError:
        beside.unlink(missing_ok=True)
        raise
