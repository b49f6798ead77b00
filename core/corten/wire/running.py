"""How a call runs, whatever brought it: what its client's leaving stops, and what it does not.

| method | when its client goes away |
| --- | --- |
| unary, plain | it runs to its end as an operation of the daemon; it may stop itself at a `checkpoint` |
| unary, `@cancellable` | cancelled at once |
| server streaming | cancelled at once, and closed |
| client or both ways streaming, plain | its next request raises Cancelled, its next reply ends it |
| the same, `@cancellable` | cancelled at once, and closed |

"Cancelled at once" is an `asyncio.CancelledError` at the await where it stands. A call that the daemon ends because
it stops is treated the same.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, aclosing, nullcontext
from typing import Any

from google.protobuf.message import Message

from corten.errors import Cancelled, Unavailable, Unknown
from corten.filter_syntax import MAX_LENGTH
from corten.supervisor import Supervisor

from .methods import Method
from .service import CallContext

Read = Callable[[], Awaitable[bytes | None]]
"""The next request of a stream; None when the client sends no more, or has gone."""
Write = Callable[[Message], Awaitable[None]]
"""Hand one reply over; returns when there is room for another."""

_TURNS = 10
# Turns of the loop after which the end of a call is known too when its stream of requests ended with it; grpc.aio
# reports the two one after the other (measured: the second follows after 2 turns).


class Running:
    """Runs methods; `supervisor` owns what must not be cancelled."""

    def __init__(self, supervisor: Supervisor, max_filter_length: int = MAX_LENGTH) -> None:
        self._supervisor = supervisor
        self._max_filter_length = max_filter_length

    async def unary(self, method: Method, request: bytes, call: CallContext) -> Any:
        """Answer one request. Raises what the method raises."""
        return await self._run(method, method.run(method.parse(request, self._max_filter_length), call))

    async def client_stream(self, method: Method, read: Read, call: CallContext) -> Any:
        """Answer many requests with one reply."""
        return await self._run(method, method.run(requests(method, read, call, self._max_filter_length), call))

    async def server_stream(self, method: Method, request: bytes, call: CallContext, write: Write) -> None:
        """Answer one request with many replies."""
        await contained(method, pump(method.run(method.parse(request, self._max_filter_length), call), call, write))

    async def bidi(self, method: Method, read: Read, call: CallContext, write: Write) -> None:
        """Replies and requests in any order."""
        work = pump(method.run(requests(method, read, call, self._max_filter_length), call), call, write)
        await self._run(method, work)

    async def _run(self, method: Method, work: Coroutine[Any, Any, Any]) -> Any:
        work = contained(method, work)
        return await (work if method.cancellable else self._operation(method, work))

    async def _operation(self, method: Method, work: Any) -> Any:
        try:
            return await self._supervisor.operation(method.path, work)
        except asyncio.CancelledError:
            if interrupted():
                raise
            raise Unavailable(
                f"{method.path}: ended early: the daemon stops, or the service was cancelled by itself"
            ) from None


def interrupted() -> bool:
    """Whether the CancelledError at hand was meant for this task, and did not come up out of what it awaited."""
    task = asyncio.current_task()
    return bool(task and task.cancelling())


async def contained(method: Method, work: Awaitable[Any]) -> Any:
    """Await `work`; a service that calls `sys.exit` ends its call, not the daemon."""
    try:
        return await work
    except SystemExit as error:
        raise Unknown(f"{method.path}: the service raised SystemExit: {error}") from error


async def requests(
    method: Method, read: Read, call: CallContext, max_filter_length: int = MAX_LENGTH
) -> AsyncIterator[Message]:
    """The requests of a stream as messages. Raises Cancelled when the client went instead of finishing."""
    while (data := await read()) is not None:
        yield method.parse(data, max_filter_length)
    for _ in range(_TURNS):
        await asyncio.sleep(0)
    call.checkpoint()


async def pump(replies: AsyncIterator[Message], call: CallContext, write: Write) -> None:
    """Write every reply, and close the iterator however this ends."""
    async with _closing(replies):
        async for reply in replies:
            await write(reply)
            if call.client_gone:
                raise Cancelled(f"{call.method}: the client went away")


def _closing(replies: Any) -> AbstractAsyncContextManager[Any]:
    return aclosing(replies) if hasattr(replies, "aclose") else nullcontext()
