"""The catalogue of a server that listens while the plugins behind it still start.

A call for a service waits for the plugin that names it in `Registration.serves`, and for no other. A service that no
plugin names, or whose plugin failed, may be another's that has not said so: then all are waited for that might.
Where two plugins offer one service, the first in the order of discovery has it, those that name it before the others.
"""

from collections.abc import Iterator
from typing import cast

from corten.plugin.model import PluginContext, PluginView, State
from corten.plugin.types import PluginType

from .catalogue import Catalogue, services_of
from .methods import Method
from .service import Service, ServiceProvider


class GrowingCatalogue(Catalogue):
    """Of the plugins of one type; used on the event loop."""

    def __init__(self, context: PluginContext, type: PluginType[ServiceProvider]) -> None:
        super().__init__({}, context.plugins)
        self._settled, self._booted = context.settled, context.booted
        self._views = [each for each in context.plugins.values() if each.registration.type.uri == type.uri]
        self._offers: dict[str, tuple[Service, ...]] = {}
        self._complete = False

    @property
    def complete(self) -> bool:
        return self._complete

    async def awaited(self, path: str) -> Method:
        service = path.rpartition("/")[0]
        for view in self._candidates(service):
            await self._settled(view.registration.uri)
            if self._takes(view, service):
                break
        return await super().awaited(path)

    async def completed(self) -> None:
        await self._booted()
        for named in (True, False):
            for view in self._views:
                for service in self._offered(view):
                    if (service.name in view.registration.serves) is named:
                        self._add(view.registration.uri, service)
        self._complete = True

    def _candidates(self, service: str) -> Iterator[PluginView]:
        """Who may offer it, the likeliest first."""
        naming = [each for each in self._views if service in each.registration.serves]
        yield from naming
        yield from (each for each in self._views if each not in naming and not (naming and each.registration.serves))

    def _takes(self, view: PluginView, service: str) -> bool:
        """Whether the plugin offers it, which makes it the owner."""
        for each in self._offered(view):
            if each.name == service:
                self._add(view.registration.uri, each)
                return True
        return False

    def _offered(self, view: PluginView) -> tuple[Service, ...]:
        if view.state is not State.OK:
            return ()
        uri = view.registration.uri
        if uri not in self._offers:
            self._offers[uri] = tuple(services_of(uri, cast("ServiceProvider", view.instance)))
        return self._offers[uri]
