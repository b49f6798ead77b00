"""Work for a client, for as long as the client is there."""

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any

from .tcp import LINGER, TcpTransport

log = logging.getLogger(__name__)


async def while_connected(
    transport: TcpTransport, reading: Coroutine[Any, Any, None], work: Coroutine[Any, Any, None]
) -> None:
    """Run `work`; `reading` the connection beside it. When that ends first, the client is gone: work is cancelled.

    When work has ended, the client is told and may close in its own time, for a while. Raises what `work` raises. Both
    have ended when this returns.
    """
    reader, worker = asyncio.create_task(reading), asyncio.create_task(work)
    try:
        await asyncio.wait({reader, worker}, return_when=asyncio.FIRST_COMPLETED)
        if worker.done() and not reader.done():
            transport.end()
            await asyncio.wait({reader}, timeout=LINGER)
    finally:
        for task in (reader, worker):
            task.cancel()
        await asyncio.gather(reader, worker, return_exceptions=True)
        if not reader.cancelled() and (error := reader.exception()):
            log.info("a client is let go, for it breaks the protocol: %s", error)
    if not worker.cancelled():
        worker.result()
