"""Bounded thread pools, one per kind of blocking work, so that a hung disk of one kind does not stop the others.

Async code calls `await pools.run("content", store.info, digest)`. A thread cannot be stopped: when the awaiting task is
cancelled the call goes on to its end, and what it holds is released there; one that no thread has begun is given up.
"""

import asyncio
import contextvars
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from itertools import islice
from threading import Lock
from typing import ParamSpec, TypeVar

from corten.errors import Internal
from corten.threads import Threads

P = ParamSpec("P")
T = TypeVar("T")

DEFAULT_SIZE = 8
PAGE = 256


class Pools:
    """Threads by kind; a kind that is not named in `sizes` gets `DEFAULT_SIZE` threads, made when first needed."""

    def __init__(self, sizes: Mapping[str, int] | None = None) -> None:
        self._sizes = dict(sizes or {})
        self._pools: dict[str, Threads] = {}
        self._lock = Lock()

    def __repr__(self) -> str:
        return f"Pools({', '.join(sorted(self._pools))})"

    async def run(self, kind: str, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run `call` in the pool of that kind, in the caller's context variables.

        Raises what it raises; SystemExit and KeyboardInterrupt, which would end the event loop, as Internal.
        """
        loop = asyncio.get_running_loop()
        outcome: asyncio.Future[T] = loop.create_future()
        work = partial(contextvars.copy_context().run, partial(call, *args, **kwargs))
        self._threads(kind).start(partial(_tell_loop, loop, outcome, work))
        try:
            return await outcome
        finally:
            del outcome  # it has the error, and the error's traceback has this frame

    def submit(self, kind: str, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> "Future[T]":
        """The same for whoever does not wait on an event loop, or not at once. Raises nothing else than Unavailable."""
        outcome: Future[T] = Future()
        work = partial(contextvars.copy_context().run, partial(call, *args, **kwargs))
        self._threads(kind).start(partial(_tell_future, outcome, work))
        return outcome

    async def iterate(self, kind: str, items: Callable[[], Iterator[T]]) -> AsyncIterator[list[T]]:
        """The items of a blocking iterator, in lists of up to `PAGE`; made and advanced in the pool."""
        iterator = await self.run(kind, items)
        while page := await self.run(kind, lambda: list(islice(iterator, PAGE))):
            yield page

    def close(self) -> None:
        """Take no more work; threads in a call end with it."""
        for pool in self._pools.values():
            pool.close()

    def _threads(self, kind: str) -> Threads:
        with self._lock:
            if kind not in self._pools:
                self._pools[kind] = Threads(f"corten-{kind}", self._sizes.get(kind, DEFAULT_SIZE))
            return self._pools[kind]


def _tell_loop(
    loop: asyncio.AbstractEventLoop, outcome: "asyncio.Future[T]", work: Callable[[], T], wanted: bool
) -> None:
    """A job of `Threads`: its outcome is told on the loop, unless that is closed by then."""
    if outcome.cancelled():
        return
    tell: Callable[[], object] = outcome.cancel
    if wanted:
        try:
            tell = partial(outcome.set_result, work())
        except BaseException as error:
            tell = partial(outcome.set_exception, _contained(error))
    with suppress(RuntimeError):
        loop.call_soon_threadsafe(_unless_done, outcome, tell)
    del outcome, work, tell  # they lead to an error, and its traceback to this frame


def _unless_done(outcome: "asyncio.Future[T]", tell: Callable[[], object]) -> None:
    if not outcome.done():
        tell()


def _tell_future(outcome: "Future[T]", work: Callable[[], T], wanted: bool) -> None:
    """A job of `Threads`."""
    if not wanted:
        outcome.cancel()
    if not outcome.set_running_or_notify_cancel():
        return
    try:
        result = work()
    except BaseException as error:
        outcome.set_exception(_contained(error))
        del outcome, work  # as above
    else:
        outcome.set_result(result)


def _contained(error: BaseException) -> BaseException:
    """What may reach the event loop in its place: it would end for these two."""
    if isinstance(error, SystemExit | KeyboardInterrupt):
        contained = Internal(f"a call raised {type(error).__name__}: {error}")
        contained.__cause__ = error
        return contained
    return error
