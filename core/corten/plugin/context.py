"""`LiveContext`: the `PluginContext` that the daemon gives to a plugin's init."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from pathlib import Path
from typing import Any, TypeVar, cast

from corten.config.settings import StreamProcessor
from corten.contracts.workers import Workers
from corten.errors import FailedPrecondition, InvalidArgument
from corten.pools import Pools
from corten.supervisor import Supervisor
from corten.values import dataclass

from .hooks import HookRelay
from .model import State
from .record import PluginRecord
from .startup import Startup
from .types import PluginType

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Environment:
    """What all plugins of a daemon share."""

    root: Path
    state: Path
    grpc_address: str
    ttrpc_address: str
    pools: Pools
    supervisor: Supervisor
    workers: Workers
    hooks: HookRelay
    configs: Mapping[str, object] = field(default_factory=dict)
    """URI to the filled config model."""
    stream_processors: Mapping[str, StreamProcessor] = field(default_factory=dict)


class LiveContext:
    """Fulfils `PluginContext` for one plugin of a running daemon."""

    def __init__(
        self,
        record: PluginRecord,
        records: Mapping[str, PluginRecord],
        environment: Environment,
        chosen: Mapping[str, str],
        startup: Startup,
    ) -> None:
        self._record = record
        self._records = records
        self._environment = environment
        self._chosen = chosen
        self.settled, self.booted = startup.settled, startup.booted
        self.stream_processors = environment.stream_processors
        self.pools = environment.pools
        self.supervisor = environment.supervisor
        self.workers = environment.workers
        self.hooks = environment.hooks
        self.grpc_address = environment.grpc_address
        self.ttrpc_address = environment.ttrpc_address

    def __repr__(self) -> str:
        return f"LiveContext({self.uri})"

    @property
    def uri(self) -> str:
        """The plugin's own."""
        return self._record.uri

    @property
    def root(self) -> Path:
        """See `PluginContext.root`. Raises OSError if it cannot be made."""
        return self._folder(self._environment.root)

    @property
    def state(self) -> Path:
        """See `PluginContext.state`. Raises OSError if it cannot be made."""
        return self._folder(self._environment.state)

    @property
    def plugins(self) -> Mapping[str, PluginRecord]:
        """Every plugin by URI."""
        return self._records

    def config_as(self, model: type[T]) -> T:
        """The settings. Raises InvalidArgument if `model` is not the one of the registration."""
        config = self._environment.configs.get(self.uri)
        if config is None and self._record.registration.config is model:
            return model()
        if not isinstance(config, model):
            raise InvalidArgument(
                f"plugin {self.uri}: asks for its config as {model.__name__}, but registered {config!r}"
            )
        return config

    def one(self, type: PluginType[T]) -> T:
        """The instance chosen. Raises FailedPrecondition if the plugin has no `one` requirement of that type."""
        uri = self._chosen.get(type.uri)
        if uri is None:
            raise FailedPrecondition(f"plugin {self.uri}: takes one {type} without having required it with one()")
        return cast("T", self._records[uri].instance)

    def each(self, type: PluginType[T]) -> Mapping[str, T]:
        """Id to instance of the members that are ok."""
        return {r.registration.id: cast("T", r.instance) for r in self._members(type) if r.state is State.OK}

    def failures(self, type: PluginType[Any]) -> Mapping[str, BaseException]:
        """Id to error of the members that are not ok; the error names the plugin."""
        return {r.registration.id: r.error for r in self._members(type) if r.error is not None}

    def export(self, key: str, value: str) -> None:
        """See `PluginContext.export`."""
        self._record.exports[key] = value

    def capability(self, name: str) -> None:
        """See `PluginContext.capability`."""
        if name not in self._record.found_capabilities:
            self._record.found_capabilities.append(name)

    def _members(self, type: PluginType[Any]) -> list[PluginRecord]:
        return [r for r in self._records.values() if r.registration.type.uri == type.uri and r is not self._record]

    def _folder(self, parent: Path) -> Path:
        folder = parent / self.uri
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return folder
