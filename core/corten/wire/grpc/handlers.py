"""From grpc.aio to `Running` and back: one handler per method, made once, and the end of every call."""

import asyncio
import time
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, NoReturn

import grpc
import grpc.aio
from google.protobuf.message import Message

from corten.errors import CortenError, InvalidArgument, ResourceExhausted, Unavailable, Unknown
from corten.tracing import server_span

from ..catalogue import Catalogue
from ..limits import Limits
from ..methods import Method
from ..running import Running, interrupted
from ..status import status_of
from ..totals import OK, CallTotals, MethodTotals, code_of
from .call import GrpcCall
from .underway import Underway

CODES = {code.value[0]: code for code in grpc.StatusCode}

Admission = Callable[[Any], None]
"""Looks at grpc's context of a call and raises PermissionDenied or Unauthenticated."""


def anyone(context: Any) -> None:
    """The admission of a unix socket: its mode has decided."""


class Handlers(grpc.GenericRpcHandler):  # type: ignore[misc]
    """Finds the handler of a call by its path; calls of anything else are refused with the reason."""

    def __init__(
        self,
        catalogue: Catalogue,
        running: Running,
        limits: Limits,
        admission: Admission = anyone,
        totals: CallTotals | None = None,
    ) -> None:
        self._catalogue = catalogue
        self._running, self._limits, self._admission = running, limits, admission
        self._stopping = False
        self.underway = Underway()
        self._totals = totals or CallTotals()
        self._found: dict[str, Any] = {}

    def service(self, handler_call_details: Any) -> Any:
        """grpc's door: `method` is `/package.Service/Method`."""
        path = handler_call_details.method.removeprefix("/")
        if self._stopping:
            return _refused(path, Unavailable(f"{path}: the daemon stops"))
        if found := self._found.get(path):
            return found
        if method := self._catalogue.find(path):
            return self._found.setdefault(path, self._served(method).handler())
        if not self._catalogue.complete:
            return grpc.stream_stream_rpc_method_handler(partial(self._early, path))
        return _refused(path, self._catalogue.refusal(path))

    async def complete(self) -> None:
        """Wait until all services are known; from then on methods that were never called are counted too, as 0."""
        await self._catalogue.completed()
        for method in self._catalogue:
            self._totals.of(method)

    def refuse(self) -> None:
        """From now on every new call is answered with Unavailable."""
        self._stopping = True

    async def _early(self, path: str, requests: Any, context: Any) -> None:
        """A call that came while the daemon starts: it waits for what it needs, and is then like any other.

        grpc wants to know at once whether there will be one message or many, so it is told many: on the wire one of
        many is the same as one.
        """
        call = GrpcCall(path, context)
        self.underway.begun(call, True)
        try:
            self._admission(context)
            method = await self._catalogue.awaited(path)
            given = requests if method.client_streaming else await _only(call)
        except BaseException as error:
            self.underway.over()
            await fail(error, call)
        self.underway.over()
        await self._served(method).serve_early(given, context)

    def _served(self, method: Method) -> "_Served":
        totals = self._totals.of(method)
        return _Served(method, self._running, self._limits, self._admission, self.underway, totals)


async def _only(call: GrpcCall) -> bytes:
    """The request of a call that has one."""
    data = await call.context.read()
    if data is grpc.aio.EOF:
        raise InvalidArgument(f"{call.method}: the call ended without a request")
    return bytes(data)


def _refused(path: str, error: CortenError) -> Any:
    async def refuse(requests: Any, context: Any) -> None:
        await fail(error, GrpcCall(path, context))

    # Takes every kind of call: it answers before it has read anything.
    return grpc.stream_stream_rpc_method_handler(refuse)


class _Served:
    """One method on the wire; requests and replies are bytes for grpc, messages for the service."""

    def __init__(
        self,
        method: Method,
        running: Running,
        limits: Limits,
        admission: Admission,
        underway: Underway,
        totals: MethodTotals,
    ) -> None:
        self._method = method
        self._running = running
        self._limits = limits
        self._admission = admission
        self._underway = underway
        self._totals = totals

    def handler(self) -> Any:
        """What grpc calls for this method."""
        make, behaviour = self._kind()
        return make(behaviour)

    async def serve_early(self, given: Any, context: Any) -> None:
        """Serve a call that grpc takes for a stream both ways; `given` is its request or its requests."""
        reply = await self._kind()[1](given, context)
        if reply is not None:
            await context.write(reply)

    def _kind(self) -> tuple[Callable[..., Any], Callable[..., Any]]:
        """What makes grpc's handler, and what it calls."""
        kinds: dict[tuple[bool, bool], tuple[Callable[..., Any], Callable[..., Any]]] = {
            (False, False): (grpc.unary_unary_rpc_method_handler, self._unary),
            (False, True): (grpc.unary_stream_rpc_method_handler, self._server_stream),
            (True, False): (grpc.stream_unary_rpc_method_handler, self._client_stream),
            (True, True): (grpc.stream_stream_rpc_method_handler, self._bidi),
        }
        return kinds[self._method.client_streaming, self._method.server_streaming]

    async def _unary(self, request: bytes, context: Any) -> Any:
        self._totals.received += 1
        return await self._run(context, partial(self._running.unary, self._method, request))

    async def _client_stream(self, requests: Any, context: Any) -> Any:
        return await self._run(
            context, lambda call: self._running.client_stream(self._method, partial(self._read, call), call)
        )

    async def _server_stream(self, request: bytes, context: Any) -> None:
        self._totals.received += 1
        await self._run(
            context, lambda call: self._running.server_stream(self._method, request, call, partial(self._write, call))
        )

    async def _bidi(self, requests: Any, context: Any) -> None:
        await self._run(
            context,
            lambda call: self._running.bidi(self._method, partial(self._read, call), call, partial(self._write, call)),
        )

    async def _run(self, context: Any, work: Callable[[GrpcCall], Coroutine[Any, Any, Message | None]]) -> Any:
        call = GrpcCall(self._method.path, context)
        began = time.monotonic()
        self._totals.started += 1
        self._underway.begun(call, self._method.stops_at_once)
        try:
            with server_span(self._method.path, call.metadata):
                self._admission(context)
                reply = await work(call)
                answer = None if self._method.server_streaming else self._bytes(reply)
        except BaseException as raised:
            error = _outcome(raised, call)
            # Before the client hears of it: who then asks for the figures finds the call among them.
            self._totals.ended(code_of(error), time.monotonic() - began)
            await fail(error, call)
        else:
            self._totals.ended(OK, time.monotonic() - began)
            return answer
        finally:
            self._underway.over()
            call.context = None

    async def _read(self, call: GrpcCall) -> bytes | None:
        if call.context is None:
            return None
        with self._underway.waiting(call):
            data = await call.context.read()
        if data is grpc.aio.EOF:
            return None
        self._totals.received += 1
        return bytes(data)

    async def _write(self, call: GrpcCall, message: Message) -> None:
        call.checkpoint()
        stall = self._limits.stream_stall
        try:
            async with asyncio.timeout(stall or None):
                await call.context.write(self._bytes(message))
        except TimeoutError:
            raise ResourceExhausted(
                f"{self._method.path}: the client took nothing from its stream for {stall:g} s"
            ) from None

    def _bytes(self, message: Any) -> bytes:
        if not isinstance(message, Message):
            raise Unknown(f"{self._method.path}: the service answered with {type(message).__name__}, not a message")
        data = message.SerializeToString()
        if len(data) > self._limits.sends:
            raise ResourceExhausted(
                f"{self._method.path}: the reply has {len(data)} bytes, this server sends at most "
                f"{self._limits.sends} (ask for less with filters, or use the streaming method)"
            )
        self._totals.sent += 1
        return data


async def fail(error: BaseException, call: GrpcCall) -> NoReturn:
    """End the call with the status of `error`; a call whose client is gone, or that was cancelled, just ends."""
    if call.client_gone or not isinstance(error, Exception):
        call.client_gone = True
        raise error
    status = status_of(error, call.method)
    await call.context.abort(CODES[status.code], status.text)
    raise error


def _outcome(error: BaseException, call: GrpcCall) -> BaseException:
    """What the client is told, and what is counted: a cancellation may be the daemon's, or the service's own."""
    if not isinstance(error, asyncio.CancelledError):
        return error
    if call.stopping:
        return Unavailable(f"{call.method}: the daemon stops")
    if not interrupted():
        return Unknown(f"{call.method}: the service was cancelled by itself")
    return error
