"""What every subcommand is given: the daemon's address, the namespace, and a way to work with a client."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from corten.client import Client

T = TypeVar("T")


@dataclass(frozen=True)
class Session:
    """One run of the command."""

    address: str
    namespace: str
    debug: bool = False

    def run(self, work: Callable[[Client], Awaitable[T]]) -> T:
        """Connect, do the work on an event loop, and return what it returns."""
        import asyncio

        from corten import identifiers
        from corten.client import Client

        identifiers.validate(self.namespace, "namespace")

        async def connected() -> T:
            async with Client(self.address, self.namespace) as client:
                return await work(client)

        return asyncio.run(connected())
