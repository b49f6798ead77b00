"""Progress of a transfer to whoever watches: in order, and never waited for by the work.

A watcher that is slow gets fewer of the events that only an offset tells apart.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from corten.contracts.streaming import Stream
from corten.contracts.transfer import ShowTransfer, TransferProgress
from corten.errors import CortenError
from corten.messages.transfer import packed, progress_message

INTERVAL = 0.05
"""Seconds for which events are gathered."""
LINGER = 5.0
"""Seconds that what is left is still sent after the transfer."""


class _Queue:
    """Events not sent yet; an item's last event replaces one of the same kind that still waits."""

    def __init__(self) -> None:
        self._waiting: dict[tuple[str, str, int], TransferProgress] = {}
        self._news = asyncio.Event()
        self._end = asyncio.Event()
        self._count = 0
        self._over = False

    def show(self, progress: TransferProgress) -> None:
        key = (progress.event, progress.name, 0 if progress.name else self._next())
        self._waiting[key] = progress
        self._news.set()

    def end(self) -> None:
        self._over = True
        self._news.set()
        self._end.set()

    async def drain(self, stream: Stream) -> None:
        """Send everything until the end."""
        while self._waiting or not self._over:
            while self._waiting:
                progress = self._waiting.pop(next(iter(self._waiting)))
                await stream.send(packed(progress_message(progress)))
            if not self._over:
                self._news.clear()
                await self._news.wait()
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._end.wait(), INTERVAL)

    def _next(self) -> int:
        self._count += 1
        return self._count


@asynccontextmanager
async def shown_on(stream: Stream) -> AsyncIterator[ShowTransfer]:
    """A callback whose events reach the stream, which is closed at the end."""
    queue = _Queue()
    sending = asyncio.get_running_loop().create_task(queue.drain(stream), name="progress of a transfer")
    try:
        yield queue.show
    finally:
        queue.end()
        await asyncio.shield(_finish(sending, stream))


async def _finish(sending: "asyncio.Task[None]", stream: Stream) -> None:
    with suppress(CortenError, TimeoutError):
        async with asyncio.timeout(LINGER):
            await sending
            await stream.close()
            await stream.finished()
