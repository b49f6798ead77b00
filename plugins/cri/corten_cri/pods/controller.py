"""The pod sandbox controller: pods of CRI as the sandbox API shows them, for tools that ask that.

Pods are made and run by CRI alone; here they can be looked at, waited for, stopped and removed.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from corten import platforms
from corten.api.cri.v1 import runtime_pb2 as pb
from corten.contracts.objects import Sandbox
from corten.contracts.sandboxes import (
    NOT_READY,
    READY,
    SandboxExit,
    SandboxInstance,
    SandboxMetrics,
    SandboxOptions,
    SandboxStatus,
)
from corten.contracts.scope import Scope
from corten.errors import NotFound, Unimplemented
from corten.wire.inside import Inside
from corten.wire.service import ServiceProvider

from ..contracts import NAMESPACE

LOOK_AGAIN = 0.5
"""Seconds between looks at a pod that somebody waits for."""


class PodSandboxes:
    """Contract `SandboxController`, by the RPCs of CRI."""

    def __init__(self, cri: ServiceProvider) -> None:
        self._cri = Inside(cri, Scope(NAMESPACE))

    async def create(self, namespace: str, sandbox: Sandbox, options: SandboxOptions) -> None:
        raise Unimplemented(f"sandbox {sandbox.id!r}: pods are made through CRI (RunPodSandbox, e.g. `crictl runp`)")

    async def start(self, namespace: str, id: str) -> SandboxInstance:
        raise Unimplemented(f"sandbox {id!r}: pods are started through CRI (RunPodSandbox, e.g. `crictl runp`)")

    async def platform(self, namespace: str, id: str) -> platforms.Platform:
        await self._status(namespace, id)
        return platforms.host()

    async def stop(self, namespace: str, id: str, timeout: float = 0.0) -> None:
        with suppress(NotFound):
            await self._status(namespace, id)
            await self._cri.call("StopPodSandbox", pb.StopPodSandboxRequest(pod_sandbox_id=id))

    async def wait(self, namespace: str, id: str) -> SandboxExit:
        """How its pause process ended is not kept: 0."""
        found = await self._status(namespace, id)
        with suppress(NotFound):  # removed at once after it was stopped
            while found.status.state == pb.SANDBOX_READY:
                await asyncio.sleep(LOOK_AGAIN)
                found = await self._status(namespace, id)
        return SandboxExit(0, time.time_ns())

    async def status(self, namespace: str, id: str, *, verbose: bool = False) -> SandboxStatus:
        try:
            found = await self._status(namespace, id)
        except NotFound:
            return SandboxStatus(id, exited_at=time.time_ns())
        return SandboxStatus(
            id=id,
            pid=_pid(found),
            state=READY if found.status.state == pb.SANDBOX_READY else NOT_READY,
            info=dict(found.info) if verbose else {},
            created_at=found.status.created_at,
        )

    async def shutdown(self, namespace: str, id: str) -> None:
        await self._status(namespace, id)
        await self._cri.call("RemovePodSandbox", pb.RemovePodSandboxRequest(pod_sandbox_id=id))

    async def metrics(self, namespace: str, id: str) -> SandboxMetrics:
        raise Unimplemented(f"sandbox {id!r}: figures of pods are given by CRI (PodSandboxStats, e.g. `crictl statsp`)")

    async def update(self, namespace: str, id: str, sandbox: Sandbox, fieldpaths: Sequence[str] = ()) -> None:
        """CRI's own UpdatePodSandboxResources changes pods that run."""
        await self._status(namespace, id)

    async def _status(self, namespace: str, id: str) -> Any:
        if namespace != NAMESPACE:
            raise NotFound(f"sandbox {id!r}: pods are in namespace {NAMESPACE}, not in {namespace}")
        request = pb.PodSandboxStatusRequest(pod_sandbox_id=id, verbose=True)
        return await self._cri.call("PodSandboxStatus", request)


def _pid(found: Any) -> int:
    """It is in the information for people, which is JSON."""
    try:
        return int(json.loads(found.info.get("info", "{}")).get("pid") or 0)
    except (ValueError, AttributeError, TypeError):
        return 0
