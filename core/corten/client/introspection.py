"""What the daemon says about itself: version, plugins, server, deprecations."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import field
from typing import Any

from google.protobuf.empty_pb2 import Empty

from corten.api.services.introspection.v1 import introspection_pb2 as pb
from corten.api.services.version.v1 import version_pb2
from corten.contracts.warnings import Deprecation
from corten.errors import CortenError, from_code
from corten.messages.values import time_of
from corten.values import dataclass

from .calls import Calls, methods

_RPC = methods(pb, "Introspection")
_REVISION = "corten-"
_VERSION = methods(version_pb2, "Version")
_SKIPPED_BY_GO = "skip plugin"
DETAIL_TYPE = "corten.plugin.v1+json"


@dataclass(frozen=True, slots=True)
class DaemonVersion:
    """`version` is containerd's form, which clients parse; `revision` says which Corten it is."""

    version: str
    revision: str


@dataclass(frozen=True, slots=True)
class ServerInfo:
    uuid: str
    pid: int
    deprecations: tuple[Deprecation, ...] = ()


@dataclass(frozen=True, slots=True)
class PluginInfo:
    """A plugin as introspection shows it; `error` is why it is not ok."""

    type: str
    id: str
    requires: tuple[str, ...] = ()
    platforms: tuple[str, ...] = ()
    exports: Mapping[str, str] = field(default_factory=dict)
    capabilities: tuple[str, ...] = ()
    error: CortenError | None = None
    detail: Mapping[str, Any] = field(default_factory=dict)
    """What cortend adds beyond containerd's message: state, reason, distribution, summary. Only from `plugin`."""

    @property
    def uri(self) -> str:
        return f"{self.type}.{self.id}"

    @property
    def state(self) -> str:
        """`ok`, `skipped`, `disabled` or `error`; without `detail` a guess from the error's text."""
        if "state" in self.detail:
            return str(self.detail["state"])
        if self.error is None:
            return "ok"
        return "skipped" if _SKIPPED_BY_GO in self.error.message else "error"


class Introspection:
    """Read-only questions to the daemon."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    async def version(self) -> DaemonVersion:
        answer = await self._calls.unary(_VERSION["Version"], Empty())
        return DaemonVersion(answer.version, answer.revision)

    async def is_corten(self) -> bool:
        """Whether the daemon is cortend, and so has what it has beyond containerd's API."""
        return (await self.version()).revision.startswith(_REVISION)

    async def server(self) -> ServerInfo:
        answer = await self._calls.unary(_RPC["Server"], Empty())
        seen = (Deprecation(d.id, d.message, time_of(d.last_occurrence)) for d in answer.deprecations)
        return ServerInfo(answer.uuid, answer.pid, tuple(seen))

    async def plugins(self, filters: Sequence[str] = ()) -> list[PluginInfo]:
        """In the order in which they were started."""
        answer = await self._calls.unary(_RPC["Plugins"], pb.PluginsRequest(filters=filters))
        return [_plugin(message) for message in answer.plugins]

    async def plugin(self, type: str, id: str) -> PluginInfo:
        """One plugin with its detail. Raises NotFound."""
        answer = await self._calls.unary(_RPC["PluginInfo"], pb.PluginInfoRequest(type=type, id=id))
        return _plugin(answer.plugin, _detail(answer))


def _plugin(message: pb.Plugin, detail: Mapping[str, Any] | None = None) -> PluginInfo:
    failed = from_code(message.init_err.code, message.init_err.message) if message.HasField("init_err") else None
    return PluginInfo(
        type=message.type,
        id=message.id,
        requires=tuple(message.requires),
        platforms=tuple("/".join(filter(None, (p.os, p.architecture, p.variant))) for p in message.platforms),
        exports=dict(message.exports),
        capabilities=tuple(message.capabilities),
        error=failed,
        detail=detail or {},
    )


def _detail(answer: pb.PluginInfoResponse) -> Mapping[str, Any]:
    if answer.extra.type_url != DETAIL_TYPE:
        return {}
    found: Mapping[str, Any] = json.loads(answer.extra.value)
    return found
