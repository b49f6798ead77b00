"""Calls without a network: drive any `Service`, and leave it at every step of the way.

    caller = Caller(service, namespace="default")
    reply = await caller.unary("Get", GetContainerRequest(id="a"))
    replies = await caller.replies("List", ListContentRequest())

`abandon_at_every_step` runs a call again and again; each time its client goes away one step later (a step is an await
that really waits, or a reply handed over), with the rules that the servers have (`corten.wire.running`): a plain unary
method runs on, a `@cancellable` one is cancelled, a stream is closed. Your check then looks at what is left:

    async def fresh() -> Attempt:
        store = await make_store()
        return Attempt(service_of(store), "Create", CreateRequest(id="a"))

    async def check(attempt: Attempt, outcome: Outcome) -> None:
        ...                                           # whole or not there at all; no lock held

    await abandon_at_every_step(fresh, check)
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Generator, Iterable, Mapping
from dataclasses import field
from typing import Any

from google.protobuf.message import Message

from corten.contracts.scope import Scope
from corten.errors import Cancelled, Unimplemented
from corten.values import dataclass
from corten.wire.methods import Method, methods_of
from corten.wire.running import pump, requests
from corten.wire.scope import headers, scope_of
from corten.wire.service import Service


class FakeCall:
    """A `CallContext` with headers of your choice; `leave` is the client going away."""

    def __init__(
        self,
        method: str = "corten.test.Service/Method",
        *,
        namespace: str = "default",
        lease: str = "",
        metadata: Mapping[str, str] | None = None,
        timeout: float | None = None,
        peer: str = "test:",
    ) -> None:
        scope = headers(Scope(namespace, lease)) if namespace else {}
        self.method = method
        self.metadata: Mapping[str, str] = {**scope, **(metadata or {})}
        self.peer = peer
        self.deadline = None if timeout is None else time.monotonic() + timeout
        self.client_gone = False

    def __repr__(self) -> str:
        return f"FakeCall({self.method}{', client gone' if self.client_gone else ''})"

    def leave(self) -> None:
        """The client goes away."""
        self.client_gone = True

    def scope(self) -> Scope:
        """Raises FailedPrecondition, InvalidArgument like the servers' own."""
        return scope_of(self.metadata)

    def checkpoint(self) -> None:
        """Raises Cancelled once the client has left."""
        if self.client_gone:
            raise Cancelled(f"{self.method}: the client went away")


class Caller:
    """Calls the methods of services by their wire names (`Get`, or `package.Service/Get` if two have it)."""

    def __init__(self, *services: Service, namespace: str = "default", lease: str = "") -> None:
        self._methods = {path: method for service in services for path, method in methods_of(service).items()}
        self._scope = Scope(namespace, lease)

    def method(self, name: str) -> Method:
        """Raises Unimplemented if no service has it."""
        for path, method in self._methods.items():
            if name in (path, path.rpartition("/")[2]):
                return method
        raise Unimplemented(f"no service of this caller has a method {name}")

    def call(self, name: str) -> FakeCall:
        """The context that the next call of that method is given, to be passed as `call`."""
        return FakeCall(self.method(name).path, namespace=self._scope.namespace, lease=self._scope.lease)

    async def unary(self, name: str, request: Message | Iterable[Message], *, call: FakeCall | None = None) -> Any:
        """One reply, of a unary or client streaming method; raises what the method raises."""
        method, call = self.method(name), call or self.call(name)
        return await method.run(_given(method, request, call), call)

    def stream(
        self, name: str, request: Message | Iterable[Message] | AsyncIterator[Message], *, call: FakeCall | None = None
    ) -> AsyncIterator[Any]:
        """The replies of a streaming method as it makes them; `aclose` it to leave."""
        method, call = self.method(name), call or self.call(name)
        replies: AsyncIterator[Any] = method.run(_given(method, request, call), call)
        return replies

    async def replies(
        self, name: str, request: Message | Iterable[Message], *, call: FakeCall | None = None
    ) -> list[Any]:
        """All replies of a streaming method."""
        return [reply async for reply in self.stream(name, request, call=call)]


@dataclass(frozen=True, slots=True)
class Attempt:
    """A call about to be made, on state of its own; `state` is yours, for the check."""

    service: Service
    method: str
    request: Message | Iterable[Message]
    namespace: str = "default"
    lease: str = ""
    state: Any = None


@dataclass(slots=True)
class Outcome:
    """How a call ended whose client left at `step`."""

    step: int
    left: bool = False
    """False in the last run, which ended before that step."""
    replies: list[Message] = field(default_factory=list)
    error: BaseException | None = None
    """What the method raised; `asyncio.CancelledError` where it was cancelled."""


async def abandon_at_every_step(
    fresh: Callable[[], Awaitable[Attempt]],
    check: Callable[[Attempt, Outcome], Awaitable[None]],
    limit: int = 500,
    timeout: float = 30.0,
) -> int:
    """Abandon the call at step 1, 2, 3 … until it ends first; `check` judges each run. Returns the number of steps.

    Raises AssertionError if a run does not end within `timeout` seconds, or after `limit` steps.
    """
    for step in range(1, limit + 1):
        attempt = await fresh()
        outcome = await abandon(attempt, step, timeout)
        await check(attempt, outcome)
        if not outcome.left:
            return step - 1
    raise AssertionError(f"{limit} steps were not enough for the call to end")


async def abandon(attempt: Attempt, step: int, timeout: float = 30.0) -> Outcome:
    """Make the call; at `step` its client leaves. Raises AssertionError if it does not end in `timeout` seconds."""
    caller = Caller(attempt.service, namespace=attempt.namespace, lease=attempt.lease)
    method, call, outcome = caller.method(attempt.method), caller.call(attempt.method), Outcome(step)

    def leave() -> None:
        outcome.left = True
        call.leave()
        if method.stops_at_once:
            task.cancel()

    task = asyncio.ensure_future(_Stepped(_drive(method, attempt.request, call, outcome), step, leave))
    done, _ = await asyncio.wait([task], timeout=timeout)
    if not done:
        task.cancel()
        raise AssertionError(f"{method.path} left at step {step}: still running after {timeout:g} s")
    outcome.error = asyncio.CancelledError() if task.cancelled() else task.exception()
    return outcome


async def _drive(method: Method, request: Message | Iterable[Message], call: FakeCall, outcome: Outcome) -> None:
    async def keep(reply: Message) -> None:
        outcome.replies.append(reply)
        await asyncio.sleep(0)  # a step at which the method stands at its yield

    work = method.run(_given(method, request, call), call)
    if method.server_streaming:
        await pump(work, call, keep)
    else:
        outcome.replies.append(await work)


def _given(method: Method, request: Any, call: FakeCall) -> Any:
    if not method.client_streaming or hasattr(request, "__anext__"):
        return request
    rest = iter(request)

    async def read() -> bytes | None:
        await asyncio.sleep(0)
        message = None if call.client_gone else next(rest, None)
        return None if message is None else message.SerializeToString()

    return requests(method, read, call)


class _Stepped(Coroutine[Any, Any, Any]):
    """A coroutine that counts how often it waits, and calls `reached` at one of these."""

    def __init__(self, work: Coroutine[Any, Any, Any], step: int, reached: Callable[[], None]) -> None:
        self._work, self._left, self._reached = work, step, reached

    def send(self, value: Any) -> Any:
        return self._counted(self._work.send(value))

    def throw(self, *error: Any) -> Any:
        return self._counted(self._work.throw(*error))

    def close(self) -> None:
        self._work.close()

    def __await__(self) -> Generator[Any, Any, Any]:
        return self._work.__await__()

    def _counted(self, waits_for: Any) -> Any:
        self._left -= 1
        if self._left == 0:
            self._reached()
        return waits_for
