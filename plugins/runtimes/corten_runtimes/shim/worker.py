"""What a worker of the keeper does: it begins the shim, or goes on with it, until nothing is left to do; then it parks.

A worker stays `LINGER_MIN` seconds after the last event. One that is called again soon after it has parked stays
longer the next time: a shim whose container prints a line every second keeps its worker. So does, for a while, one that
its last client has left: the next daemon comes soon, and would find a worker to be forked in each shim of the host.
"""

import os
import sys
import time
from typing import TYPE_CHECKING

# ruff: noqa: E402  (what is imported below exists on Linux only)
assert sys.platform != "win32"

from . import parcel
from .keeper import PARKED, Keeper

if TYPE_CHECKING:
    from .entry import Shim

LINGER_MIN, LINGER_MAX = 0.2, 3.0
SOON = 5
"""Times as long as it has stayed: whoever calls it again within that calls it soon."""


class Worker:
    """One process's share in the life of a shim."""

    def __init__(self, shim: "Shim", keeper: Keeper) -> None:
        self.shim, self._keeper = shim, keeper
        self._linger = LINGER_MIN

    def go_on(self) -> None:
        """Take what the last worker left."""
        self.unpack(parcel.take(self._keeper.lot[1]))

    def work(self) -> None:
        """Until the shim is over; does not return if it parks."""
        loop = self.shim.loop
        while loop.running:
            rests = self._keeper.apart and self.shim.rests
            linger = self._linger if self.shim.connected else LINGER_MAX
            if not loop.turn(linger if rests else -1) and rests:
                self._park()
                loop.turn(-1)

    def pack(self) -> bytes:
        """The shim as it is. Its own descriptors that no other worker needs are closed."""
        self.shim.rest()
        return parcel.pack((time.monotonic(), self._linger, self.shim.kept()), self.shim.roots)

    def unpack(self, data: bytes) -> None:
        """Make the shim what it was when it was packed."""
        parked, linger, state = parcel.unpack(data, self.shim.roots)
        soon = time.monotonic() - parked < SOON * linger
        self._linger = min(2 * linger, LINGER_MAX) if soon else LINGER_MIN
        self.shim.take_up(state, self._keeper)

    def _park(self) -> None:
        """End, if what is left can be left."""
        keeper = self._keeper
        try:
            data = self.pack()
            fds = parcel.open_fds((keeper.epoll.fileno(), keeper.exits, *(end.fileno() for end in keeper.lot)))
            if parcel.leave(keeper.lot[0], data, fds):
                os._exit(PARKED)
        except Exception as error:  # something that cannot be packed: the shim is only larger then
            print(f"corten-shim {self.shim.path}: cannot park: {error!r}", file=sys.stderr)
        self.shim.wake()
