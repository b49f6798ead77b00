"""The gRPC health service: whether the daemon, or one of its services, takes calls.

Source: https://github.com/grpc/grpc/blob/master/doc/health-checking.md. The daemon itself has the empty name. While
the daemon starts, who asks waits; plugins do not change afterwards, so a watcher is told once and then waits for the
end of the daemon.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any, cast

from grpc_health.v1 import health_pb2

from corten.errors import NotFound
from corten.plugin.model import PluginView, State
from corten.plugin.types import GRPC

from .catalogue import services_of
from .service import CallContext, Service, ServiceProvider, cancellable

_Response: Any = health_pb2.HealthCheckResponse
DESCRIPTOR = health_pb2.DESCRIPTOR.services_by_name["Health"]


class Health:
    """Is also its own `ServiceProvider`."""

    def __init__(self, plugins: Mapping[str, PluginView], booted: Callable[[], Awaitable[None]]) -> None:
        self._plugins, self._booted = plugins, booted

    def __repr__(self) -> str:
        return f"Health({len(self._plugins)} plugins)"

    @property
    def services(self) -> tuple[Service, ...]:
        """The one service."""
        return (Service(DESCRIPTOR, self),)

    @cancellable
    async def check(
        self, request: "health_pb2.HealthCheckRequest", call: CallContext
    ) -> "health_pb2.HealthCheckResponse":
        """Raises NotFound for a service that nobody offers."""
        await self._booted()
        status = self.status(request.service)
        if status == _Response.SERVICE_UNKNOWN:
            raise NotFound(f"service {request.service}: no plugin offers it")
        return health_pb2.HealthCheckResponse(status=status)

    @cancellable
    async def list(self, request: "health_pb2.HealthListRequest", call: CallContext) -> "health_pb2.HealthListResponse":
        """The daemon and every service that a plugin offers."""
        await self._booted()
        names = {"", *(name for view in self._plugins.values() for name in _offered(view))}
        found = {name: health_pb2.HealthCheckResponse(status=self.status(name)) for name in sorted(names)}
        return health_pb2.HealthListResponse(statuses=found)

    async def watch(
        self, request: "health_pb2.HealthCheckRequest", call: CallContext
    ) -> AsyncIterator["health_pb2.HealthCheckResponse"]:
        """The status now, then silence until the client or the daemon goes."""
        await self._booted()
        yield _Response(status=self.status(request.service))
        await asyncio.Event().wait()

    def status(self, service: str) -> int:
        """SERVING, NOT_SERVING or SERVICE_UNKNOWN."""
        states = [view.state for view in self._plugins.values() if service in _offered(view)]
        if not service or State.OK in states:
            return int(_Response.SERVING)
        return int(_Response.NOT_SERVING if states else _Response.SERVICE_UNKNOWN)


def _offered(view: PluginView) -> set[str]:
    named = set(view.registration.serves)
    if view.instance is not None and view.registration.type == GRPC:
        named |= {
            service.name for service in services_of(view.registration.uri, cast("ServiceProvider", view.instance))
        }
    return named
