"""The registrations of this package; imports nothing of what they start."""

from typing import cast

from corten.contracts.diff import Differ
from corten.errors import InvalidArgument
from corten.plugin.model import PluginContext, Registration, one
from corten.plugin.types import LEASE, METADATA, SERVICE, STREAMING, TRANSFER

from .config import TransferConfig


def plugins() -> tuple[Registration, ...]:
    """The streams that clients open, and the transferer of the daemon itself."""
    return (
        Registration(
            type=STREAMING,
            id="manager",
            init=_streams,
            requires=(one(METADATA),),
            summary="Keeps the streams that clients open: progress, archives, questions for credentials.",
        ),
        Registration(
            type=TRANSFER,
            id="local",
            init=_transferer,
            requires=(one(METADATA), one(LEASE), one(SERVICE, "diff-service")),
            config=TransferConfig,
            summary="Moves images between registries, archives and the store.",
        ),
    )


def _streams(context: PluginContext) -> object:
    from .streams import KIND, OpenStreams, StreamCollector

    streams = OpenStreams()
    register = getattr(context.one(METADATA), "register_collector", None)
    if register is not None:  # a store of third parties may have no such door
        register(KIND, StreamCollector(streams))
    return streams


def _transferer(context: PluginContext) -> object:
    import asyncio

    from .local import LocalTransferer
    from .parts import Parts

    config = context.config_as(TransferConfig)
    if min(config.max_concurrent_downloads, config.max_concurrent_uploaded_layers, config.max_concurrent_unpacks) < 1:
        raise InvalidArgument(f"{context.uri}: max_concurrent_… must be at least 1")
    return LocalTransferer(
        Parts(
            metadata=context.one(METADATA),
            leases=context.one(LEASE),
            differ=cast("Differ", context.one(SERVICE)),
            pools=context.pools,
            supervisor=context.supervisor,
            hooks=context.hooks,
            config=config,
            downloads=asyncio.Semaphore(config.max_concurrent_downloads),
            unpacks=asyncio.Semaphore(config.max_concurrent_unpacks),
            uploads=asyncio.Semaphore(config.max_concurrent_uploaded_layers),
        )
    )
