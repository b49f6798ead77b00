"""`ConfFolder`: the networks configured in a folder, as of now: loaded again whenever anything in it changes."""

import asyncio
import logging
import sys
from collections.abc import Callable
from pathlib import Path

from corten.errors import CortenError, NotFound, mapped
from corten.linux.inotify import FolderWatch
from corten.pools import Pools

from .configuration import NetworkList, load_folder

# ruff: noqa: E402  (what is imported below exists on Linux only)
assert sys.platform != "win32"

from .invocation import POOL

log = logging.getLogger(__name__)

SETTLE = 0.05
"""Seconds between a change and reading: a file is often written in several steps."""


class ConfFolder:
    """Its networks, or why there are none."""

    def __init__(self, pools: Pools, folder: str, limit: int, found: Callable[[tuple[NetworkList, ...]], None]) -> None:
        """`found` is told the networks whenever they are others than before."""
        self._pools, self.folder, self.limit, self._found = pools, folder, limit, found
        self.networks: tuple[NetworkList, ...] = ()
        self.error: CortenError | None = NotFound(f"no network config found in {folder}: cni plugin not initialized")

    def __repr__(self) -> str:
        return f"ConfFolder({self.folder}, {[network.name for network in self.networks] or self.error})"

    @property
    def status(self) -> str:
        """What the last loading came to: `OK`, or what was wrong."""
        return self.error.message if self.error else "OK"

    async def load(self) -> None:
        """Read the folder again. What is wrong is in `error` then, and there are no networks."""
        before, networks = self.status, self.networks
        try:
            self.networks, self.error = await self._pools.run(POOL, load_folder, self.folder, self.limit), None
        except CortenError as error:
            self.networks, self.error = (), error
        if self.status != before:
            log.info("CNI configuration in %s: %s", self.folder, self.status)
        if self.networks and self.networks != networks:
            self._found(self.networks)

    async def current(self) -> tuple[NetworkList, ...]:
        """The networks; where there were none, one more look is taken. Raises the error of that."""
        if self.error:
            await self.load()
        if self.error:
            raise self.error
        return self.networks

    async def watch(self) -> None:
        """A job: load at every change, also when the folder itself is removed and made again. Never returns."""
        with mapped(f"watch the CNI configuration folder {self.folder}"):
            watch = FolderWatch()
        changed = asyncio.Event()
        loop = asyncio.get_running_loop()
        loop.add_reader(watch.fileno(), _note, watch, changed)
        try:
            while True:
                await self._pools.run(POOL, _watch_with_ancestor, watch, Path(self.folder))
                await self.load()
                await changed.wait()
                await asyncio.sleep(SETTLE)
                changed.clear()
        finally:
            loop.remove_reader(watch.fileno())
            watch.close()


def _watch_with_ancestor(watch: FolderWatch, folder: Path) -> None:
    """The folder, if it is there, and the nearest above it that is: one that is made later is noticed there."""
    for above in (folder, *folder.parents):
        try:
            with mapped(f"watch {above}"):
                watch.add(str(above))
        except NotFound:
            continue
        if above != folder:
            return


def _note(watch: FolderWatch, changed: asyncio.Event) -> None:
    if watch.drain():
        changed.set()
