"""The registrations of this package; imports nothing of what they start."""

from corten.config.units import Duration
from corten.plugin.model import Move, PluginContext, Registration, one
from corten.plugin.types import CONTAINER_MONITOR, GRPC, METADATA, RUNTIME
from corten.values import dataclass


@dataclass(frozen=True, slots=True)
class RestartConfig:
    """Settings of the restart monitor."""

    interval: Duration = 10.0
    """How often containers are compared with what their labels ask for."""
    max_backoff: Duration = 60.0
    """The longest pause between restarts of a container that ends at once, which doubles from `interval` on."""


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
