"""The registrations of this package; imports nothing of what they start."""

from corten.config.units import Duration
from corten.errors import InvalidArgument
from corten.plugin.model import Move, PluginContext, Registration, SkipPlugin, one
from corten.plugin.types import CONTAINER_MONITOR, GRPC, METADATA, RUNTIME, SERVER, TASK_MONITOR
from corten.values import dataclass


@dataclass(frozen=True, slots=True)
class RestartConfig:
    """Settings of the restart monitor."""

    interval: Duration = 10.0
    """How often containers are compared with what their labels ask for."""
    max_backoff: Duration = 60.0
    """The longest pause between restarts of a container that ends at once, which doubles from `interval` on."""


@dataclass(frozen=True, slots=True)
class CgroupsConfig:
    """Settings of the figures of containers."""

    no_prometheus: bool = False
    """Leave the figures of containers out of the metrics."""


@dataclass(frozen=True, slots=True)
class MetricsConfig:
    """Settings of the metrics endpoint."""

    address: str = ""
    """`host:port` for `http://host:port/v1/metrics`; empty for none. Whoever can connect may read."""


def plugins() -> tuple[Registration, ...]:
    """Entry point `monitors`."""
    return (
        Registration(
            type=CONTAINER_MONITOR,
            id="restart",
            init=_restart,
            requires=(one(METADATA), one(RUNTIME, "task"), one(GRPC, "tasks")),
            config=RestartConfig,
            capabilities=("no", "always", "on-failure", "unless-stopped"),
            moves=(Move(3, "io.containerd.internal.v1.restart", ("interval",), ("interval",)),),
            summary="Starts containers again that their labels want to run, and stops those that they want stopped.",
        ),
        Registration(
            type=TASK_MONITOR,
            id="cgroups",
            init=_cgroups,
            requires=(one(METADATA), one(RUNTIME, "task")),
            config=CgroupsConfig,
            moves=(Move(3, "io.containerd.monitor.v1.cgroups", ("no_prometheus",), ("no_prometheus",)),),
            platforms=("linux",),
            summary="Tells memory, CPU time, pids and I/O of each container to the metrics endpoint.",
        ),
        Registration(
            type=SERVER,
            id="metrics",
            init=_metrics,
            config=MetricsConfig,
            summary="Serves the metrics of all plugins to Prometheus, where an address is set.",
        ),
    )


def _restart(context: PluginContext) -> object:
    from .restart import RestartMonitor

    config = context.config_as(RestartConfig)
    return RestartMonitor(
        context.one(METADATA),
        context.one(RUNTIME),
        context.one(GRPC),
        context.pools,
        context.supervisor,
        interval=config.interval or 10.0,
        max_backoff=config.max_backoff,
    )


def _cgroups(context: PluginContext) -> object:
    from .metrics.containers import ContainerMetrics

    off = context.config_as(CgroupsConfig).no_prometheus
    return ContainerMetrics(context.one(METADATA), context.one(RUNTIME), context.pools, off=off)


def _metrics(context: PluginContext) -> object:
    config = context.config_as(MetricsConfig)
    if not config.address:
        raise SkipPlugin("no address is set for the metrics")
    from corten.wire.address import parse

    from .metrics.endpoint import MetricsEndpoint
    from .metrics.gathering import Gathering
    from .metrics.text import encoded

    address = parse(config.address)
    if address.path:
        raise InvalidArgument(f"address {config.address!r} of the server metrics: not host:port")
    gathering = Gathering(context.plugins)

    async def page(accept: str) -> tuple[bytes, str]:
        return encoded(await gathering.metrics(), accept)

    return MetricsEndpoint(address, page)
