"""What pulls need is imported before one is asked for, so that an upgrade of the package under the daemon fails none.

All else that a kubelet asks for is imported with the plugin; pulls bring HTTP along, which a node without pods spares.
"""

import asyncio
import logging

from corten.pools import Pools
from corten.supervisor import Supervisor

from .transfers import Transfers

log = logging.getLogger(__name__)

LULL = 5.0
"""Seconds from the first pod on, so that its containers do not wait for imports."""


class AtHand:
    """Used on the event loop."""

    def __init__(self, transfers: Transfers, pools: Pools, supervisor: Supervisor) -> None:
        self._transfers = transfers
        self._pools = pools
        self._supervisor = supervisor
        self._begun = False

    def soon(self) -> None:
        """There is a pod: have all of it at hand in a while. Only the first time counts."""
        if not self._begun:
            self._begun = True
            name = "cri: modules of pulls"
            begin = lambda: self._supervisor.background(name, self._import())  # noqa: E731
            asyncio.get_running_loop().call_later(LULL, begin)

    async def _import(self) -> None:
        await self._pools.run("cri", self._transfers.ready_pulls)
        log.debug("modules of pulls are at hand")
