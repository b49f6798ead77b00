"""Devices for containers."""

import copy
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from corten.pools import Pools

from . import names
from .registry import Registry

# ruff: noqa: E402  (what is imported below exists on Linux only)
assert sys.platform != "win32"

from .applying import apply

POOL = "cdi"


class CdiDevices:
    """Fulfils `Cdi`."""

    def __init__(self, folders: Sequence[str], pools: Pools) -> None:
        self._registry = Registry(folders)
        self._pools = pools

    async def inject(self, spec: dict[str, Any], devices: Sequence[str], annotations: Mapping[str, str]) -> None:
        """Edit the spec for all of them, or leave it as it is and raise."""
        wanted = names.wanted(devices, annotations)
        if wanted:
            edited = await self._pools.run(POOL, self._edited, spec, wanted)
            spec.clear()
            spec.update(edited)

    def _edited(self, spec: dict[str, Any], wanted: Sequence[str]) -> dict[str, Any]:
        edits = self._registry.edits(wanted)
        edited = copy.deepcopy(spec)
        apply(edited, edits)
        return edited
