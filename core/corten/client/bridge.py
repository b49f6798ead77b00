"""From asynchronous to plain: an event loop in a thread, and descriptors that turn methods into waiting ones."""

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Generator, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from typing import Any, Concatenate, Generic, ParamSpec, Self, TypeVar, overload

from corten.errors import Unavailable

S = TypeVar("S")
P = ParamSpec("P")
T = TypeVar("T")


class LoopThread:
    """An event loop that runs in a thread until `close`."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="corten-client", daemon=True)
        self._thread.start()

    def __repr__(self) -> str:
        return f"LoopThread({'running' if self._thread.is_alive() else 'closed'})"

    def call(self, work: Coroutine[Any, Any, T]) -> T:
        """Run it on the loop and wait. An interrupted wait (Ctrl-C) cancels it. Unavailable after `close`."""
        if self._loop.is_closed():
            work.close()
            raise Unavailable("the client is closed")
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def iterate(self, items: AsyncIterator[T]) -> Generator[T, None, None]:
        """Draw from an asynchronous iterator; it is closed when this one is."""
        try:
            while True:
                try:
                    yield self.call(_next(items))
                except StopAsyncIteration:
                    return
        finally:
            if not self._loop.is_closed():
                self.call(_closed(items))

    @contextmanager
    def entered(self, context: AbstractAsyncContextManager[T]) -> Iterator[T]:
        """An asynchronous context as a plain one."""
        value = self.call(_awaited(context.__aenter__()))
        try:
            yield value
        except BaseException as error:
            if not self.call(_awaited(context.__aexit__(type(error), error, error.__traceback__))):
                raise
        else:
            self.call(_awaited(context.__aexit__(None, None, None)))

    def close(self) -> None:
        """Stop the loop and wait for the thread."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


class Face(Generic[S]):
    """The plain face of an asynchronous object."""

    def __init__(self, loop: LoopThread, inner: S) -> None:
        self._loop = loop
        self._inner = inner

    def __repr__(self) -> str:
        return f"sync {self._inner!r}"


class blocking(Generic[S, P, T]):  # noqa: N801  a decorator in all but name
    """A coroutine method of the asynchronous class, made to wait for its result."""

    def __init__(self, method: Callable[Concatenate[S, P], Coroutine[Any, Any, T]]) -> None:
        self._method = method
        self.__doc__ = method.__doc__

    @overload
    def __get__(self, face: None, owner: type[Any]) -> Self: ...
    @overload
    def __get__(self, face: Face[S], owner: type[Any]) -> Callable[P, T]: ...
    def __get__(self, face: Face[S] | None, owner: type[Any]) -> Self | Callable[P, T]:
        if face is None:
            return self

        def call(*args: P.args, **kwargs: P.kwargs) -> T:
            return face._loop.call(self._method(face._inner, *args, **kwargs))

        return call


class streaming(Generic[S, P, T]):  # noqa: N801
    """An asynchronous generator method, made a plain iterator."""

    def __init__(self, method: Callable[Concatenate[S, P], AsyncIterator[T]]) -> None:
        self._method = method
        self.__doc__ = method.__doc__

    @overload
    def __get__(self, face: None, owner: type[Any]) -> Self: ...
    @overload
    def __get__(self, face: Face[S], owner: type[Any]) -> Callable[P, Generator[T, None, None]]: ...
    def __get__(self, face: Face[S] | None, owner: type[Any]) -> Self | Callable[P, Generator[T, None, None]]:
        if face is None:
            return self

        def call(*args: P.args, **kwargs: P.kwargs) -> Generator[T, None, None]:
            return face._loop.iterate(self._method(face._inner, *args, **kwargs))

        return call


async def _next(items: AsyncIterator[T]) -> T:
    return await anext(items)


async def _closed(items: AsyncIterator[Any]) -> None:
    if (close := getattr(items, "aclose", None)) is not None:
        await close()


async def _awaited(work: Awaitable[T]) -> T:
    return await work
