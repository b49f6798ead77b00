"""The plugins of this package: the metadata store on LMDB, its gc scheduler, the leases and the sandbox store."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from corten.errors import InvalidArgument
from corten.plugin.model import PluginContext, Registration, each, one
from corten.plugin.types import CONTENT, EVENT, GC, LEASE, METADATA, SANDBOX_STORE, SNAPSHOTTER
from corten.values import dataclass

if TYPE_CHECKING:
    from corten.contracts.leases import LeaseStore
    from corten.contracts.sandboxes import SandboxStore

    from .metadata import LmdbMetadata
    from .scheduler import Scheduler


@dataclass(frozen=True, slots=True)
class MetadataConfig:
    """`io.containerd.metadata.v1.lmdb`."""

    content_store: str = ""
    """Id of the content plugin whose blobs the namespaces see; empty: the only one enabled, else Corten's own."""
    content_sharing_policy: str = "shared"
    """`shared`: a blob of one namespace can be had by another without its bytes; `isolated`: only with them."""
    max_leases: int = 100_000
    """Leases that a namespace may have; 0: any number."""
    no_sync: bool = False
    """Do not wait for the disk: faster, and a power failure may lose or damage the store."""


@dataclass(frozen=True, slots=True)
class SchedulerConfig:
    """`io.containerd.gc.v1.scheduler`; delays are written like `100ms` or `1s`."""

    pause_threshold: float = 0.02
    """The share of time that collections may take on average; at most 0.5."""
    deletion_threshold: int = 0
    """Deletions after which a collection is scheduled at once; 0: never for that reason."""
    mutation_threshold: int = 100
    """Updates after which a collection runs when the pause allows it; 0: never for that reason."""
    schedule_delay: str = "0ms"
    """How long a requested collection waits for more to come."""
    startup_delay: str = "100ms"
    """When the first collection runs after the start."""


def plugins() -> tuple[Registration, ...]:
    """The entry point."""
    return (
        Registration(
            type=METADATA,
            id="lmdb",
            init=_metadata,
            requires=(one(CONTENT, key="content_store"), each(SNAPSHOTTER), one(EVENT)),
            config=MetadataConfig,
            summary="What exists in which namespace, durable, on LMDB",
        ),
        Registration(
            type=GC,
            id="scheduler",
            init=_scheduler,
            requires=(one(METADATA),),
            config=SchedulerConfig,
            summary="Removes content and snapshots that nothing refers to any more",
        ),
        Registration(
            type=LEASE,
            id="manager",
            init=_leases,
            requires=(one(METADATA), one(GC)),
            summary="Leases, which keep resources from the garbage collector",
        ),
        Registration(
            type=SANDBOX_STORE,
            id="local",
            init=_sandboxes,
            requires=(one(METADATA),),
            summary="Sandboxes as records of the metadata store",
        ),
    )


def _metadata(context: PluginContext) -> LmdbMetadata:
    from .metadata import LmdbMetadata

    config = context.config_as(MetadataConfig)
    if config.content_sharing_policy not in ("shared", "isolated"):
        raise InvalidArgument(
            f"{context.uri}: content_sharing_policy {config.content_sharing_policy!r}: write shared or isolated"
        )
    context.export("policy", config.content_sharing_policy)
    context.export("path", str(context.root))
    return LmdbMetadata(
        context.root,
        context.one(CONTENT),
        context.each(SNAPSHOTTER),
        context.one(EVENT),
        shared=config.content_sharing_policy == "shared",
        sync=not config.no_sync,
        max_leases=config.max_leases,
        failures=partial(context.failures, SNAPSHOTTER),
    )


def _scheduler(context: PluginContext) -> Scheduler:
    from .expiry import duration
    from .metadata import LmdbMetadata
    from .pacing import Rules
    from .scheduler import Scheduler

    metadata = context.one(METADATA)
    if not isinstance(metadata, LmdbMetadata):
        raise InvalidArgument(f"{context.uri}: it collects in the store io.containerd.metadata.v1.lmdb only")
    config = context.config_as(SchedulerConfig)
    delays = {name: max(duration(getattr(config, name)), 0) / 10**9 for name in ("schedule_delay", "startup_delay")}
    rules = Rules(config.pause_threshold, config.deletion_threshold, config.mutation_threshold, **delays)
    context.export("PauseThreshold", f"{config.pause_threshold:g}")
    context.export("DeletionThreshold", str(config.deletion_threshold))
    context.export("MutationThreshold", str(config.mutation_threshold))
    context.export("ScheduleDelay", config.schedule_delay)
    return Scheduler(metadata, rules, context.pools, lambda: context.supervisor)


def _leases(context: PluginContext) -> LeaseStore:
    from .lease_manager import LeaseManager

    return LeaseManager(context.one(METADATA).leases, context.one(GC))


def _sandboxes(context: PluginContext) -> SandboxStore:
    return context.one(METADATA).sandboxes
