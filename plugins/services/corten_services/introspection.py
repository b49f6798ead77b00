"""The service `Introspection`: which plugins there are and how they fare, and who the server is."""

import os
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Protocol, runtime_checkable

from corten import filters
from corten.api.services.introspection.v1 import introspection_pb2 as pb
from corten.api.types.introspection_pb2 import RuntimeRequest
from corten.contracts.objects import AnyValue
from corten.contracts.warnings import Warnings
from corten.errors import InvalidArgument, NotFound, Unimplemented
from corten.messages.values import any_message, named, optional_any, timestamp
from corten.plugin.model import PluginView
from corten.pools import Pools
from corten.wire.service import CallContext, cancellable
from google.protobuf.empty_pb2 import Empty
from google.protobuf.message import DecodeError

from .host import host_platform, pid_namespace, server_id
from .plugin_messages import explanation, plugin_lookup, plugin_message


@runtime_checkable
class TellsMore(Protocol):
    """A plugin instance that answers `PluginInfo` itself, as the runtime does."""

    async def plugin_info(self, runtime_path: str, options: AnyValue | None) -> AnyValue: ...


class IntrospectionService:
    """Needs no namespace; what it shows is live. Whoever asks about plugins while the daemon starts, waits."""

    def __init__(
        self,
        plugins: Mapping[str, PluginView],
        booted: Callable[[], Awaitable[None]],
        warnings: Warnings | None,
        root: Path,
        pools: Pools,
    ) -> None:
        self._plugins, self._booted = plugins, booted
        self._warnings = warnings
        self._root = root
        self._pools = pools
        self._host = host_platform()

    @cancellable
    async def plugins(self, request: pb.PluginsRequest, call: CallContext) -> pb.PluginsResponse:
        """Filter fields: type, id, state, exports.KEY."""
        matches = filters.compile(list(request.filters))
        await self._booted()
        found = [each for each in self._plugins.values() if matches(plugin_lookup(each))]
        return pb.PluginsResponse(plugins=[plugin_message(each, self._host) for each in found])

    @cancellable
    async def server(self, request: Empty, call: CallContext) -> pb.ServerResponse:
        id = await self._pools.run("metadata", server_id, self._root / "uuid")
        return pb.ServerResponse(uuid=id, pid=os.getpid(), pidns=pid_namespace(), deprecations=self._deprecations())

    @cancellable
    async def plugin_info(self, request: pb.PluginInfoRequest, call: CallContext) -> pb.PluginInfoResponse:
        """With options the plugin itself answers, if it can; without them, what Corten knows of it."""
        plugin = self._find(request)
        await self._booted()
        options = optional_any(request, "options")
        extra = explanation(plugin) if options is None else any_message(await _ask(plugin, options))
        return pb.PluginInfoResponse(plugin=plugin_message(plugin, self._host), extra=extra)

    def _find(self, request: pb.PluginInfoRequest) -> PluginView:
        uri = f"{named(request.type, 'type of the plugin')}.{named(request.id, 'id of the plugin')}"
        found = self._plugins.get(uri)
        if found is None:
            raise NotFound(f"plugin {uri}: there is none of that name")
        return found

    def _deprecations(self) -> list[pb.DeprecationWarning]:
        seen = self._warnings.warnings() if self._warnings else ()
        return [
            pb.DeprecationWarning(id=each.id, message=each.message, last_occurrence=timestamp(each.last_occurrence))
            for each in seen
        ]


async def _ask(plugin: PluginView, options: AnyValue) -> AnyValue:
    uri, name = plugin.registration.uri, RuntimeRequest.DESCRIPTOR.full_name
    if not isinstance(plugin.instance, TellsMore):
        raise Unimplemented(f"plugin {uri}: it answers no questions about itself; ask without options")
    if options.type_url.rpartition("/")[2] != name:
        raise InvalidArgument(f"plugin {uri}: options of type {options.type_url!r}; it takes {name}")
    try:
        request = RuntimeRequest.FromString(options.value)
    except DecodeError as error:
        raise InvalidArgument(f"plugin {uri}: the options are no {name}: {error}") from error
    return await plugin.instance.plugin_info(request.runtime_path, optional_any(request, "options"))
