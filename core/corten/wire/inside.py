"""Calls of a service within this process: a plugin asks another's service as a client would, without a socket.

tasks = Inside(context.one(GRPC), Scope("default"))
made = await tasks.call("Create", CreateTaskRequest(container_id="web"))
"""

from collections.abc import Mapping
from typing import Any

from google.protobuf.message import Message

from corten.contracts.scope import Scope
from corten.errors import Unimplemented

from .methods import methods_of
from .scope import headers
from .service import ServiceProvider


class Inside:
    """Unary calls of the services of one provider, for one scope."""

    def __init__(self, provider: ServiceProvider, scope: Scope) -> None:
        self._methods = {
            path.rpartition("/")[2]: method
            for service in provider.services
            for path, method in methods_of(service).items()
        }
        self._scope = scope

    async def call(self, name: str, request: Message) -> Any:
        """The reply. Raises what the method raises, Unimplemented if there is none of that name."""
        method = self._methods.get(name)
        if method is None:
            raise Unimplemented(f"method {name}: the service has none of that name")
        return await method.run(request, _Call(method.path, self._scope))


class _Call:
    """A call whose client never goes away."""

    deadline: float | None = None
    client_gone = False
    peer = "inside:"

    def __init__(self, method: str, scope: Scope) -> None:
        self.method, self._scope = method, scope

    @property
    def metadata(self) -> Mapping[str, str]:
        return headers(self._scope)

    def scope(self) -> Scope:
        return self._scope

    def checkpoint(self) -> None:
        """Nobody has left."""
