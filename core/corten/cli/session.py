"""What every subcommand is given: the daemon's address, the namespace, and a way to work with a client."""

from __future__ import annotations

import os
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from corten.client import Client

T = TypeVar("T")
PATIENCE = 3
"""Signals after which a command that still clears up is ended: who sends one may send it twice at once."""


@dataclass(frozen=True)
class Session:
    """One run of the command."""

    address: str
    namespace: str
    debug: bool = False

    def run(self, work: Callable[[Client], Awaitable[T]]) -> T:
        """Connect, do the work on an event loop, and return what it returns.

        SIGTERM and Ctrl-C cancel the work, so that it can clear up; the command then exits as if killed by the signal,
        and is by the third one. Raises KeyboardInterrupt for Ctrl-C.
        """
        import asyncio
        import signal

        from corten import identifiers
        from corten.client import Client
        from corten.errors import NotFound

        identifiers.validate(self.namespace, "namespace")

        signals: list[int] = []

        def end(task: asyncio.Task[object], number: int) -> None:
            signals.append(number)
            if len(signals) == 1:
                task.cancel()
            if len(signals) >= PATIENCE:
                signal.signal(number, signal.SIG_DFL)
                os.kill(os.getpid(), number)

        async def connected() -> T:
            if sys.platform != "win32" and (task := asyncio.current_task()) is not None:
                for number in (signal.SIGTERM, signal.SIGINT):
                    asyncio.get_running_loop().add_signal_handler(number, end, task, number)
            try:
                async with Client(self.address, self.namespace) as client:
                    return await work(client)
            finally:
                for ending in signals[:1]:  # the loop closes what its handlers need before it takes them away
                    asyncio.get_running_loop().remove_signal_handler(ending)
                    signal.signal(ending, signal.SIG_IGN)

        try:
            return asyncio.run(connected())
        except NotFound as error:
            if "exist" not in error.message or self.namespace in ("default", *error.message.split("'")):
                raise
            raise NotFound(f"{error.message} (that is in namespace {self.namespace!r})") from error
        except asyncio.CancelledError:
            if not signals:
                raise
            if signals[0] == signal.SIGINT:
                raise KeyboardInterrupt from None
            raise SystemExit(128 + signals[0]) from None
