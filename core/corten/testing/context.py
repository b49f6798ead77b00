"""`FakeContext`: a `PluginContext` with nothing behind it, for tests that start one plugin by hand.

    context = FakeContext(tmp_path / "root", tmp_path / "state", config=TapeConfig(speed=3),
                          instances={(CONTENT, "local"): store})
    snapshotter = plugin().init(context)

`one` answers the only instance of a type, or the one named by a field of the config that a requirement of
`registration` points to. What the plugin exports is in `context.exports` and `context.capabilities`.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar, cast

from corten.config.settings import StreamProcessor
from corten.contracts.workers import Workers
from corten.errors import NotFound, Unavailable
from corten.plugin.hooks import HookRelay
from corten.plugin.model import Cardinality, PluginView, Registration, State
from corten.plugin.record import PluginRecord
from corten.plugin.types import PluginType
from corten.pools import Pools
from corten.supervisor import Supervisor

T = TypeVar("T")


class FakeContext:
    """Fulfils `PluginContext`; `supervisor` needs a running event loop when it is first asked for."""

    def __init__(
        self,
        root: str | Path,
        state: str | Path,
        *,
        uri: str = "io.corten.test.v1.fake",
        config: object = None,
        instances: Mapping[tuple[PluginType[Any], str], object] | None = None,
        failed: Mapping[tuple[PluginType[Any], str], BaseException] | None = None,
        plugins: Mapping[str, PluginView] | None = None,
        workers: Workers | None = None,
        hooks: HookRelay | None = None,
        pools: Pools | None = None,
        supervisor: Supervisor | None = None,
        grpc_address: str = "",
        ttrpc_address: str = "",
        registration: Registration | None = None,
        stream_processors: Mapping[str, StreamProcessor] | None = None,
    ) -> None:
        self._folders = (Path(root), Path(state))
        self._config = config
        self._instances = dict(instances or {})
        self._failed = dict(failed or {})
        self._workers = workers
        self._supervisor = supervisor
        self._registration = registration
        self.stream_processors: Mapping[str, StreamProcessor] = dict(stream_processors or {})
        self.uri = registration.uri if registration else uri
        self.plugins: Mapping[str, PluginView] = self._views() if plugins is None else dict(plugins)
        self.pools = pools or Pools()
        self.hooks = hooks or HookRelay(self.pools)
        self.grpc_address = grpc_address or str(Path(state) / "containerd.sock")
        self.ttrpc_address = ttrpc_address or f"{self.grpc_address}.ttrpc"
        self.exports: dict[str, str] = {}
        self.capabilities: list[str] = []

    def __repr__(self) -> str:
        return f"FakeContext({self.uri}, {sorted(f'{type}.{id}' for type, id in self._instances)})"

    @cached_property
    def root(self) -> Path:
        """The folder given as `root`, made 0700."""
        return self._made(self._folders[0])

    @cached_property
    def state(self) -> Path:
        """The folder given as `state`, made 0700."""
        return self._made(self._folders[1])

    @property
    def supervisor(self) -> Supervisor:
        """The one given, or one made on the running loop."""
        if self._supervisor is None:
            self._supervisor = Supervisor()
        return self._supervisor

    @property
    def workers(self) -> Workers:
        """The ones given; raises Unavailable if there are none."""
        if self._workers is None:
            raise Unavailable("the test gave this context no workers")
        return self._workers

    def _views(self) -> dict[str, PluginView]:
        """Those whose instances or errors the test gave."""
        records = [
            PluginRecord(Registration(type, id, lambda _: None), state=State.OK, instance=instance)
            for (type, id), instance in self._instances.items()
        ]
        for (type, id), error in self._failed.items():
            records.append(PluginRecord(Registration(type, id, lambda _: None), state=State.ERROR, error=error))
        return {each.uri: each for each in records}

    async def settled(self, uri: str) -> None:
        """At once: nothing starts here."""

    async def booted(self) -> None:
        """At once."""

    def config_as(self, model: type[T]) -> T:
        """The config given, or `model` with its defaults."""
        return self._config if isinstance(self._config, model) else model()

    def one(self, type: PluginType[T]) -> T:
        """The instance wanted by the config or the requirement, or the only one. Raises NotFound."""
        found = self.each(type)
        wanted = self._wanted(type)
        if wanted is not None and wanted in found:
            return found[wanted]
        if wanted is None and len(found) == 1:
            return next(iter(found.values()))
        raise NotFound(f"plugin {type}.{wanted or '*'}: the test gave {sorted(found) or 'none'} of that type")

    def each(self, type: PluginType[T]) -> Mapping[str, T]:
        """Id to instance of that type."""
        return {id: cast("T", instance) for (kind, id), instance in self._instances.items() if kind == type}

    def failures(self, type: PluginType[Any]) -> Mapping[str, BaseException]:
        """Id to error, as given in `failed`."""
        return {id: error for (kind, id), error in self._failed.items() if kind == type}

    def export(self, key: str, value: str) -> None:
        """Kept in `exports`."""
        self.exports[key] = value

    def capability(self, name: str) -> None:
        """Kept in `capabilities`."""
        self.capabilities.append(name)

    async def close(self) -> None:
        """End the pools, and the supervisor's jobs."""
        if self._supervisor is not None:
            await self._supervisor.close(1.0)
        self.pools.close()

    def _wanted(self, type: PluginType[Any]) -> str | None:
        for need in self._registration.requires if self._registration else ():
            if need.type == type and need.cardinality is Cardinality.ONE:
                return getattr(self._config, need.key or "", None) or need.id
        return None

    @staticmethod
    def _made(folder: Path) -> Path:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return folder
