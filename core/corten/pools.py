"""Bounded thread pools, one per kind of blocking work, so that a hung disk of one kind does not stop the others.

Async code calls `await pools.run("content", store.info, digest)`. A thread cannot be stopped: when the awaiting task is
cancelled the call goes on to its end, and what it holds is released there.
"""

import asyncio
import contextvars
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import islice
from threading import Lock
from typing import ParamSpec, TypeVar

from corten.errors import Internal

P = ParamSpec("P")
T = TypeVar("T")

DEFAULT_SIZE = 8
PAGE = 256


class Pools:
    """Threads by kind; a kind that is not named in `sizes` gets `DEFAULT_SIZE` threads, made when first needed."""

    def __init__(self, sizes: Mapping[str, int] | None = None) -> None:
        self._sizes = dict(sizes or {})
        self._pools: dict[str, ThreadPoolExecutor] = {}
        self._lock = Lock()

    def __repr__(self) -> str:
        return f"Pools({', '.join(sorted(self._pools))})"

    async def run(self, kind: str, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run `call` in the pool of that kind, in the caller's context variables.

        Raises what it raises; SystemExit and KeyboardInterrupt, which would end the event loop, as Internal.
        """
        work = partial(contextvars.copy_context().run, _contained, partial(call, *args, **kwargs))
        return await asyncio.get_running_loop().run_in_executor(self.executor(kind), work)

    async def iterate(self, kind: str, items: Callable[[], Iterator[T]]) -> AsyncIterator[list[T]]:
        """The items of a blocking iterator, in lists of up to `PAGE`; made and advanced in the pool."""
        iterator = await self.run(kind, items)
        while page := await self.run(kind, lambda: list(islice(iterator, PAGE))):
            yield page

    def executor(self, kind: str) -> ThreadPoolExecutor:
        """The pool itself, for libraries that want one."""
        with self._lock:
            if kind not in self._pools:
                size = self._sizes.get(kind, DEFAULT_SIZE)
                self._pools[kind] = ThreadPoolExecutor(size, thread_name_prefix=f"corten-{kind}")
            return self._pools[kind]

    def close(self) -> None:
        """Take no more work; threads in a call end with it."""
        for pool in self._pools.values():
            pool.shutdown(wait=False, cancel_futures=True)


def _contained(call: Callable[[], T]) -> T:
    try:
        return call()
    except (SystemExit, KeyboardInterrupt) as error:
        raise Internal(f"a call raised {type(error).__name__}: {error}") from error
