"""The two services of CRI, put together from parts: each RPC belongs to the part that has a method of its name."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

from corten.errors import Internal
from corten.wire.methods import snake_case
from corten.wire.service import CallContext, Service, cancellable, is_cancellable
from google.protobuf.descriptor import ServiceDescriptor

AT_ONCE = frozenset({"version"})
"""Answered also before everything from before the start is known again."""


class Delegating:
    """An implementation whose methods are those of the parts; each waits until `ready` is set."""

    def __init__(self, descriptor: ServiceDescriptor, parts: Sequence[object], ready: asyncio.Event) -> None:
        for rpc in descriptor.methods:
            name = snake_case(rpc.name)
            owners = [part for part in parts if hasattr(part, name)]
            if len(owners) > 1:
                raise Internal(f"{descriptor.full_name}/{rpc.name}: {owners[0]!r} and {owners[1]!r} both have it")
            if owners:
                method = getattr(owners[0], name)
                setattr(self, name, method if name in AT_ONCE else _gated(method, ready))


def service(descriptor: ServiceDescriptor, parts: Sequence[object], ready: asyncio.Event) -> Service:
    """A service to be served. Raises Internal if two parts have the same RPC."""
    return Service(descriptor, Delegating(descriptor, parts, ready))


def _gated(method: Callable[..., Any], ready: asyncio.Event) -> Callable[..., Any]:
    made = _gated_stream(method, ready) if inspect.isasyncgenfunction(method) else _gated_call(method, ready)
    return cancellable(made) if is_cancellable(method) else made


def _gated_call(method: Callable[..., Any], ready: asyncio.Event) -> Callable[..., Any]:
    async def call(request: Any, call: CallContext) -> Any:
        if not ready.is_set():
            await ready.wait()
        return await method(request, call)

    return call


def _gated_stream(method: Callable[..., Any], ready: asyncio.Event) -> Callable[..., Any]:
    async def stream(request: Any, call: CallContext) -> AsyncIterator[Any]:
        await ready.wait()
        async for reply in method(request, call):
            yield reply

    return stream
