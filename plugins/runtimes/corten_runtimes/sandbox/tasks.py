"""Tasks in a sandbox have no shim of their own: they go to the sandbox's."""

import os
import signal
import sys
import time
from pathlib import Path

from corten.contracts.objects import AnyValue
from corten.contracts.runtime import CreateOptions, Exit, ShimEndpoint
from corten.errors import Unimplemented
from corten.linux import mount
from corten.pools import Pools

# ruff: noqa: E402  (what is imported below exists on Linux only)
assert sys.platform != "win32"

from .. import bundle as bundles
from ..copier import CopiedStreams, Copier
from .endpoints import Endpoints, parsed

KIND = "sandbox"


class SandboxedTasks:
    """A `ShimProvider` that starts nothing, and never ends a shim: that is the sandbox's controller's to do."""

    def __init__(self, copier: Copier, pools: Pools) -> None:
        self._copier, self._pools = copier, pools
        self.endpoints = Endpoints()

    def takes(self, namespace: str, options: CreateOptions) -> bool:
        """Whether the task belongs to a sandbox whose shim takes tasks, or the client gave its address."""
        if not options.sandbox_id:
            return False
        return bool(options.task_address) or self.endpoints.find(namespace, options.sandbox_id) is not None

    def handles(self, runtime: str) -> bool:
        return False

    async def start(self, namespace: str, id: str, bundle: str, options: CreateOptions) -> ShimEndpoint:
        if options.task_address:
            endpoint = parsed(options.task_address, options.task_version)
        else:
            found = self.endpoints.find(namespace, options.sandbox_id)
            assert found is not None, "asked by `takes` before"
            endpoint = found
        await self._pools.run("runtime", _record, Path(bundle), endpoint, options.sandbox_id)
        return endpoint

    async def remove(self, namespace: str, id: str, bundle: str) -> Exit:
        await self.streams(namespace, id, bundle).close("")
        await self._pools.run("runtime", mount.unmount_all, os.path.join(bundle, "rootfs"))
        return Exit(0, 128 + signal.SIGKILL, time.time_ns())

    def adopt(self, bundle: str) -> None:
        """The bundle tells the address."""
        self._copier.recall(bundle)

    async def prepare(self) -> None:
        """Its shim is there."""

    def retire(self, bundle: str) -> bool:
        return False

    def release(self, bundle: str) -> None:
        """Nothing is held."""

    def streams(self, namespace: str, id: str, bundle: str) -> CopiedStreams:
        return CopiedStreams(self._copier, self._pools, namespace, id, bundle)

    async def close(self) -> None:
        """Leave the copier to itself."""
        await self._copier.disconnect()

    async def plugin_info(self, runtime: str, options: AnyValue | None) -> AnyValue:
        raise Unimplemented(f"runtime {runtime!r}: sandboxes are no runtime")


def _record(bundle: Path, endpoint: ShimEndpoint, sandbox: str) -> None:
    known = {"schema": 1, "kind": KIND, "boot_id": bundles.boot_id(), "sandbox": sandbox}
    record = {"version": endpoint.version, "address": endpoint.address, "protocol": endpoint.protocol, "corten": known}
    bundles.write_private(bundle / "sandbox", sandbox.encode())
    bundles.write_bootstrap(bundle, record)
