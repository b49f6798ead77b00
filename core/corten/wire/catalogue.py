"""What a server serves: its methods by path, and the right answer to a call of anything else."""

import logging
from collections.abc import Iterator, Mapping, Sequence

from corten.errors import CortenError, FailedPrecondition, Unavailable, Unimplemented
from corten.plugin.model import PluginView, State

from .methods import Method, methods_of
from .service import Service, ServiceProvider

log = logging.getLogger(__name__)


class Catalogue:
    """Methods of the services of `providers` (by plugin URI or id); `plugins` explains what is missing."""

    def __init__(
        self, providers: Mapping[str, ServiceProvider], plugins: Mapping[str, PluginView] | None = None
    ) -> None:
        self._plugins = plugins or {}
        self._owners: dict[str, str] = {}
        self._methods: dict[str, Method] = {}
        for owner, provider in providers.items():
            for service in services_of(owner, provider):
                self._add(owner, service)

    def __repr__(self) -> str:
        return f"Catalogue({', '.join(self.services)})"

    def __iter__(self) -> Iterator[Method]:
        return iter(self._methods.values())

    @property
    def services(self) -> list[str]:
        """Full names of the services, sorted."""
        return sorted(self._owners)

    def find(self, path: str) -> Method | None:
        """The method of `package.Service/Method`, if it can be called now."""
        return self._methods.get(path)

    @property
    def complete(self) -> bool:
        """Whether what `find` does not know will never be there; else `awaited` waits for it."""
        return True

    async def awaited(self, path: str) -> Method:
        """As `find`, once nobody can offer it any more who does not yet. Raises what `refusal` returns."""
        if method := self.find(path):
            return method
        raise self.refusal(path)

    async def completed(self) -> None:
        """Wait until it is `complete`. Raises Unavailable if the daemon ends instead."""

    def refusal(self, path: str) -> CortenError:
        """Why `path` is not served: its plugin's own error, or that nobody has heard of it."""
        service, _, method = path.rpartition("/")
        if service in self._owners:
            return Unimplemented(f"unknown method {method} for service {service}")
        for view in self._plugins.values():
            if service in view.registration.serves and view.state is not State.OK:
                return refusal_of(service, view)
        return Unimplemented(f"unknown service {service}")

    def _add(self, owner: str, service: Service) -> None:
        first = self._owners.get(service.name)
        if first is not None and first != owner:
            log.error("service %s of %s is not served: %s offers it already", service.name, owner, first)
            return
        self._owners[service.name] = owner
        self._methods.update(methods_of(service))


def refusal_of(service: str, view: PluginView) -> CortenError:
    """The answer of a service whose plugin is not ok."""
    uri = view.registration.uri
    if view.state is State.PENDING:
        return Unavailable(f"service {service}: plugin {uri} has not started yet (try again)")
    error = view.error
    reason = error.message if isinstance(error, CortenError) else str(error or "no reason was given")
    reason = reason.removeprefix(f"plugin {uri}: ")
    kind = f" ({type(error).__name__})" if error and not isinstance(error, CortenError) else ""
    return FailedPrecondition(f"service {service}: plugin {uri} is in state {view.state}: {reason}{kind}")


def services_of(owner: str, provider: ServiceProvider) -> Sequence[Service]:
    """What the plugin `owner` offers; nothing, and a line in the log, if it cannot even say so."""
    try:
        return tuple(provider.services)
    except Exception:
        log.exception("plugin %s: its services cannot be read, none of them is served", owner)
        return ()
