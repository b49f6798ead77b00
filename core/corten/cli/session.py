"""What every subcommand is given: the daemon's address, the namespace, and a way to work with a client."""

from __future__ import annotations

import sys
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
        """Connect, do the work on an event loop, and return what it returns.

        SIGTERM cancels the work as Ctrl-C does, so that it can clear up; the command then exits as if killed by it.
        """
        import asyncio
        import signal

        from corten import identifiers
        from corten.client import Client
        from corten.errors import NotFound

        identifiers.validate(self.namespace, "namespace")

        terminated = False

        def terminate(task: asyncio.Task[object]) -> None:
            nonlocal terminated
            terminated = True
            task.cancel()

        async def connected() -> T:
            if sys.platform != "win32" and (task := asyncio.current_task()) is not None:
                asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, terminate, task)
            async with Client(self.address, self.namespace) as client:
                return await work(client)

        try:
            return asyncio.run(connected())
        except NotFound as error:
            if "exist" not in error.message or self.namespace in ("default", *error.message.split("'")):
                raise
            raise NotFound(f"{error.message} (that is in namespace {self.namespace!r})") from error
        except asyncio.CancelledError:
            if not terminated:
                raise
            raise SystemExit(128 + signal.SIGTERM) from None
