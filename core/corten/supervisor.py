"""The owner of everything that runs longer than a call: background jobs, and operations that outlive their client.

A *job* is a coroutine function that runs for the daemon's life; when it raises, that is logged with its name and it is
started again after a pause. An *operation* is a piece of work that runs to its end even if whoever waits for it is
cancelled; the daemon waits for operations when it stops.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from corten.errors import Internal
from corten.tracing import span

T = TypeVar("T")
log = logging.getLogger(__name__)

RESTART_PAUSE = 1.0
"""Seconds before a failed job is started again; doubles up to `RESTART_PAUSE_MAX`."""
RESTART_PAUSE_MAX = 60.0


class Supervisor:
    """Made on the event loop; `job` may be called from any thread, the rest on the loop."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._jobs: dict[asyncio.Task[None], str] = {}
        self._operations: dict[asyncio.Future[Any], str] = {}

    def __repr__(self) -> str:
        return f"Supervisor(jobs={sorted(self._jobs.values())}, operations={sorted(self._operations.values())})"

    def job(self, name: str, work: Callable[[], Awaitable[None]]) -> None:
        """Keep `work` running until the daemon stops; a job that returns is done."""
        self._loop.call_soon_threadsafe(self._start_job, name, work)

    async def operation(self, name: str, work: Coroutine[Any, Any, T]) -> T:
        """Run `work` to its end and return what it returns; a cancelled caller leaves it running.

        Raises what it raises; SystemExit and KeyboardInterrupt, which would end the event loop, as Internal.
        """
        return await asyncio.shield(self._own(name, work))

    def background(self, name: str, work: Coroutine[Any, Any, Any]) -> None:
        """Run `work` to its end with nobody waiting; an error is logged."""
        _ = self._own(name, work)

    @property
    def running(self) -> dict[str, list[str]]:
        """Names of the jobs and operations under way, for tests and `corten` to look at."""
        return {"jobs": sorted(self._jobs.values()), "operations": sorted(self._operations.values())}

    async def close(self, grace: float = 10.0) -> None:
        """Wait up to `grace` seconds for operations, then cancel what is left, then the jobs."""
        if self._operations:
            await asyncio.wait(list(self._operations), timeout=grace)
        left = [*self._operations, *self._jobs]
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)

    def _own(self, name: str, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        task = self._loop.create_task(_contained(name, work), name=name)
        self._operations[task] = name
        task.add_done_callback(self._forget)
        return task

    def _start_job(self, name: str, work: Callable[[], Awaitable[None]]) -> None:
        task = self._loop.create_task(self._keep(name, work), name=name)
        self._jobs[task] = name
        task.add_done_callback(lambda done: self._jobs.pop(done, None))

    async def _keep(self, name: str, work: Callable[[], Awaitable[None]]) -> None:
        pause = RESTART_PAUSE
        while True:
            try:
                with span("job", name=name):
                    return await work()
            except (Exception, SystemExit, KeyboardInterrupt):
                log.exception("background job %s failed; it is started again in %.0f s", name, pause)
            await asyncio.sleep(pause)
            pause = min(pause * 2, RESTART_PAUSE_MAX)

    def _forget(self, done: asyncio.Future[Any]) -> None:
        name = self._operations.pop(done, "")
        if not done.cancelled() and (error := done.exception()):
            log.debug("operation %s failed: %s", name, error)


async def _contained(name: str, work: Coroutine[Any, Any, T]) -> T:
    try:
        return await work
    except (SystemExit, KeyboardInterrupt) as error:
        raise Internal(f"{name}: raised {type(error).__name__}: {error}") from error
