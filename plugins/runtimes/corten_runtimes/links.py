"""Connections to shims: one for each address, however many tasks are behind it."""

import asyncio
from collections.abc import Callable

from corten.contracts.runtime import ShimEndpoint
from corten.errors import Unavailable

from .dial import ShimClient, dial

Lost = Callable[[], None]


class Link:
    """One task's share of a connection; `release` it once."""

    def __init__(self, line: "_Line", client: ShimClient, lost: Lost) -> None:
        self._line, self.client, self.lost = line, client, lost

    async def release(self) -> None:
        """Let go: the last of its users closes the connection. `lost` is not called any more."""
        if self in self._line.users:
            self._line.users.remove(self)
            await self._line.drop()


class _Line:
    """`holds` counts users and those who wait to become one."""

    def __init__(self, endpoint: ShimEndpoint, timeout: float) -> None:
        self.users: list[Link] = []
        self.holds, self._ended = 0, False
        self.connecting = asyncio.ensure_future(dial(endpoint, timeout, lambda _: self._end()))
        self.connecting.add_done_callback(lambda done: done.cancelled() or done.exception())

    @property
    def usable(self) -> bool:
        if not self.connecting.done():
            return True
        return self.holds > 0 and not self._ended and self.connecting.exception() is None

    async def drop(self) -> None:
        self.holds -= 1
        if not self.holds and self.connecting.done() and not self.connecting.exception():
            await self.connecting.result().close()

    def _end(self) -> None:
        self._ended = True
        for user in list(self.users):
            user.lost()


class Links:
    """All connections of a runtime; to be used on the event loop."""

    def __init__(self) -> None:
        self._lines: dict[str, _Line] = {}

    def __repr__(self) -> str:
        return f"Links({sum(line.usable for line in self._lines.values())})"

    async def open(self, endpoint: ShimEndpoint, lost: Lost, timeout: float) -> Link:
        """A share of the connection to a shim, which is made if there is none; `lost` is called when it breaks.

        Raises Unavailable, also after `timeout` seconds.
        """
        self._lines = {known: line for known, line in self._lines.items() if line.usable}
        address = endpoint.address
        line = self._lines.get(address)
        if line is None:
            line = self._lines[address] = _Line(endpoint, timeout)
        line.holds += 1
        try:
            client = await asyncio.shield(line.connecting)
            if client.closed:
                raise Unavailable(f"shim {address}: it has closed the connection")
        except BaseException:
            await line.drop()
            raise
        link = Link(line, client, lost)
        line.users.append(link)
        return link
