"""What a plugin is: a frozen `Registration`, and the `PluginContext` that its `init` is given.

The entry point (group `corten.plugins`) is a function of no arguments that returns a `Registration`, or several in a
tuple. Its module must be importable on every platform and import nothing heavy: the implementation is imported in
`init`, so that a package that is not for this host costs nothing.

    def plugin() -> Registration:
        return Registration(type=SNAPSHOTTER, id="tape", requires=(one(CONTENT),), config=TapeConfig, init=_init)

    def _init(context: PluginContext) -> Snapshotter:
        from ._tape import TapeSnapshotter
        return TapeSnapshotter(context.root, context.config_as(TapeConfig))

An instance may have any of three optional methods: `async start()`, if it needs no arguments, runs on the event loop
once `init` returned (servers, background jobs); `close()`, plain or async, is called at stop in reverse order under a
deadline; methods marked with `corten.plugin.hooks.hookimpl` are registered as hooks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import field
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from corten.values import dataclass

if TYPE_CHECKING:
    from corten.config.settings import StreamProcessor
    from corten.contracts.workers import Workers
    from corten.pools import Pools
    from corten.supervisor import Supervisor

    from .hooks import HookRelay
    from .types import PluginType

T = TypeVar("T")


class Cardinality(StrEnum):
    """How many instances of a type a requirement wants."""

    ONE = "one"
    """Exactly one; a missing or failed one takes the dependant down."""
    EACH = "each"
    """All that are ok; failed ones are left out and can be named with `PluginContext.failures`."""
    ORDER = "order"
    """None: only start after all of that type."""
    LATER = "later"
    """All, but started before them: they are found in `PluginContext.plugins` as they come up."""


@dataclass(frozen=True, slots=True)
class Requirement:
    """A need for instances of a plugin type; made with `one`, `each`, `order` and `later`."""

    type: PluginType[Any]
    cardinality: Cardinality
    id: str | None = None
    """For ONE: the id wanted; None takes the only one there is."""
    key: str | None = None
    """For ONE: the field of the config model that holds the id, which wins over `id`."""


def one(type: PluginType[Any], id: str | None = None, *, key: str | None = None) -> Requirement:
    """Require one plugin of `type`: the one named by config field `key`, else `id`, else the only one there is."""
    return Requirement(type, Cardinality.ONE, id, key)


def each(type: PluginType[Any]) -> Requirement:
    """Require every plugin of `type` that starts; those that fail are left out."""
    return Requirement(type, Cardinality.EACH)


def order(type: PluginType[Any]) -> Requirement:
    """Start after every plugin of `type`, without using any."""
    return Requirement(type, Cardinality.ORDER)


def later(type: PluginType[Any]) -> Requirement:
    """Start ahead of every plugin of `type` and stop before them all, as the servers do: calls wait for what they need.

    They are found in `PluginContext.plugins` once `PluginContext.settled` says so.
    """
    return Requirement(type, Cardinality.LATER)


class State(StrEnum):
    """Where a plugin stands."""

    PENDING = "pending"
    OK = "ok"
    SKIPPED = "skipped"
    DISABLED = "disabled"
    ERROR = "error"


class SkipPlugin(Exception):
    """Raised by `init`: the plugin is sound, but not for this host; the argument says why."""


Migration = Callable[[int, Mapping[str, Any]], Mapping[str, Any]]
"""`(from_version, section) -> section` of the next config version; raises nothing, keeps what it does not know."""


@dataclass(frozen=True, slots=True)
class Move:
    """A setting that another plugin had up to config `version`: its key path there, and where it is in this plugin."""

    version: int
    uri: str
    old: tuple[str, ...]
    new: tuple[str, ...]


ConfigModel = type[Any]
"""A frozen dataclass in which every field has a default."""


@dataclass(frozen=True, slots=True)
class Registration:
    """A plugin as it is announced, before anything of it runs."""

    type: PluginType[Any]
    id: str
    init: Callable[[PluginContext], object]
    """Makes the instance; runs in a thread under a deadline; may raise `SkipPlugin` or any error."""
    requires: tuple[Requirement, ...] = ()
    config: ConfigModel | None = None
    """None for a plugin without settings."""
    platforms: tuple[str, ...] = ()
    """`os/architecture` pairs for introspection, e.g. `linux/amd64`; empty: the host's own."""
    capabilities: tuple[str, ...] = ()
    exports: Mapping[str, str] = field(default_factory=dict)
    serves: tuple[str, ...] = ()
    """Full names of all RPC services it will offer: calls to them wait for it, and are answered if it fails."""
    migration: Migration | None = None
    moves: tuple[Move, ...] = ()
    """Settings that files of older versions have in another plugin's section; made before `migration`."""
    preload: tuple[str, ...] = ()
    """Modules that the zygote imports before it forks anything: what shims and workers of this plugin run."""
    summary: str = ""
    """One sentence for `corten plugins ls`."""

    @property
    def uri(self) -> str:
        """`type.id`, the name used in config, logs and on the wire."""
        return f"{self.type}.{self.id}"


class PluginView(Protocol):
    """A plugin as others may see it: for introspection, `plugins ls | graph | explain` and the servers."""

    @property
    def registration(self) -> Registration: ...
    @property
    def state(self) -> State: ...
    @property
    def error(self) -> BaseException | None:
        """Why it is not ok: the init error, the `SkipPlugin`, or the error of an unmet requirement."""

    @property
    def instance(self) -> object | None: ...
    @property
    def exports(self) -> Mapping[str, str]:
        """`Registration.exports` with what `PluginContext.export` added."""

    @property
    def capabilities(self) -> tuple[str, ...]: ...
    @property
    def distribution(self) -> str | None:
        """Name and version of the Python distribution it came from."""

    @property
    def requires_resolved(self) -> Mapping[str, tuple[str, ...]]:
        """For each required type, the URIs chosen."""


class PluginContext(Protocol):
    """What a plugin is given when it starts. All of it may be used from any thread."""

    @property
    def uri(self) -> str: ...
    @property
    def root(self) -> Path:
        """`<root>/<uri>`, for what must survive a reboot; made 0700 when first asked for."""

    @property
    def state(self) -> Path:
        """`<state>/<uri>`, for what must not; made 0700 when first asked for."""

    @property
    def grpc_address(self) -> str: ...
    @property
    def ttrpc_address(self) -> str: ...
    @property
    def stream_processors(self) -> Mapping[str, StreamProcessor]:
        """The programs for media types of layers, by id, as the daemon's configuration has them."""

    @property
    def pools(self) -> Pools:
        """Bounded thread pools, one per kind of blocking work."""

    @property
    def supervisor(self) -> Supervisor:
        """Owner of background jobs and of mutating operations."""

    @property
    def workers(self) -> Workers:
        """Processes forked from the zygote, for hostile or heavy work."""

    @property
    def hooks(self) -> HookRelay: ...
    @property
    def plugins(self) -> Mapping[str, PluginView]:
        """Every plugin by URI, also those that failed; live."""

    async def settled(self, uri: str) -> None:
        """On the event loop: wait until that plugin has started or failed. Raises NotFound if there is none."""

    async def booted(self) -> None:
        """On the event loop: wait until all plugins have. Raises Unavailable, with the reason, if the daemon ends."""

    def config_as(self, model: type[T]) -> T:
        """The plugin's settings; `model` is the class given in the registration."""
        ...

    def one(self, type: PluginType[T]) -> T:
        """The instance that a `one` requirement resolved to."""
        ...

    def each(self, type: PluginType[T]) -> Mapping[str, T]:
        """Id to instance for an `each` requirement."""
        ...

    def failures(self, type: PluginType[Any]) -> Mapping[str, BaseException]:
        """Id to error of the members of `type` that are not ok, skipped and disabled ones among them."""
        ...

    def export(self, key: str, value: str) -> None:
        """Add to what introspection shows of this plugin (`root`, say, which ctr and the kubelet read)."""
        ...

    def capability(self, name: str) -> None:
        """Add a capability found at start."""
        ...
