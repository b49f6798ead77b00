"""`NamespaceMaker`: what the rest of CRI calls to make, finish, check and take away the namespaces of pods."""

import json
import os
import sys
from collections.abc import Mapping
from contextlib import ExitStack, suppress

from corten.contracts.workers import Workers
from corten.errors import CortenError, DeadlineExceeded, mapped
from corten.pools import Pools

# ruff: noqa: E402  (what is imported below exists on Linux only)
assert sys.platform != "win32"

from . import pins as pinning
from . import sysctls
from .model import Pins, PodNamespaces

POOL = "cri-namespaces"
"""The pool of threads that wait for the helpers."""
DEADLINE = 30.0
"""Seconds that a helper may take: milliseconds as a rule, but the kernel has one lock for all network namespaces."""
_HELPER = "corten_cri.namespaces.helper"
PRELOAD = (_HELPER,)
"""For the registration: what the zygote imports."""


class NamespaceMaker:
    """Makes the namespaces of pods. Who calls `make` has recorded the pins, and calls `remove` until it succeeds."""

    def __init__(self, workers: Workers, pools: Pools, deadline: float = DEADLINE) -> None:
        self._workers, self._pools, self._deadline = workers, pools, deadline

    async def make(self, wanted: PodNamespaces) -> None:
        """Make what `wanted` asks for; on failure nothing is left, except where the helper itself was killed.

        Raises InvalidArgument for a sysctl that is not the pod's or a wrong map, DeadlineExceeded, or what the kernel
        refused.
        """
        sysctls.check(wanted.sysctls, wanted.pins)
        try:
            await self._pools.run(POOL, self._help, "make", wanted.to_json(), [])
        except DeadlineExceeded:
            await self.remove(wanted.pins)
            raise

    async def finish(self, pins: Pins, values: Mapping[str, str]) -> None:
        """Set those of the pod's sysctls that belong to network interfaces, once CNI has made these; often none."""
        later = sysctls.of_interfaces(values)
        if later:
            await self._pools.run(POOL, self._finish, pins, json.dumps(later).encode())

    async def remove(self, pins: Pins) -> None:
        """Take away whatever there is of them; may be called again, and for pods that were made in part."""
        await self._pools.run(POOL, pinning.release, pins)

    def missing(self, pins: Pins) -> list[str]:
        """The paths of namespaces that are gone: the pod is not ready then. Does not block."""
        return pinning.missing(pins)

    def _finish(self, pins: Pins, payload: bytes) -> None:
        with ExitStack() as opened:
            fds = []
            for path in filter(None, (pins.net, pins.user)):
                with mapped(f"open namespace {path}"):
                    fds.append(os.open(path, os.O_RDONLY | os.O_CLOEXEC))
                    opened.callback(os.close, fds[-1])
            self._help("finish", payload, fds)

    def _help(self, function: str, payload: bytes, fds: list[int]) -> None:
        helper = self._workers.start(f"{_HELPER}:{function}", payload, fds)
        try:
            helper.result(self._deadline)
        except DeadlineExceeded:
            helper.kill()
            with suppress(CortenError):
                helper.result(self._deadline)  # until it is dead: it must not mount once `remove` has looked
            raise
