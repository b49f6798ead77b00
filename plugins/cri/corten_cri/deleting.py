"""A task whose process has ended is deleted; a shim that fails at it, or is slow, is asked again."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from corten.contracts.runtime import Task
from corten.errors import CortenError, NotFound

PAUSE = 1.0
"""Seconds between two attempts."""


async def delete_ended(task: Task, attempts: int, failed: Callable[[CortenError], Awaitable[None]]) -> None:
    """Harmless for one that is gone. `failed` is told of each failure; the last one is raised too."""
    for attempt in range(1, attempts + 1):
        try:
            await task.delete()
            return
        except NotFound:
            return
        except CortenError as error:
            await failed(error)
            if attempt == attempts:
                raise
        await asyncio.sleep(PAUSE)
