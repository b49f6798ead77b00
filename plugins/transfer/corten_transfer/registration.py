"""The registrations of this package; imports nothing of what they start."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, cast

from corten.contracts.diff import Differ
from corten.errors import InvalidArgument
from corten.plugin.model import PluginContext, Registration, SkipPlugin, State, each, one
from corten.plugin.types import DIFFER, IMAGE_VERIFIER, LEASE, METADATA, SERVICE, STREAMING, TRANSFER

from .config import BinDirConfig, TransferConfig
from .verifying import Verifiers

if TYPE_CHECKING:
    from .unpacking_choice import UnpackChoice


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
            requires=(one(METADATA), one(LEASE), one(SERVICE, "diff-service"), each(DIFFER), each(IMAGE_VERIFIER)),
            config=TransferConfig,
            summary="Moves images between registries, archives and the store.",
        ),
        Registration(
            type=IMAGE_VERIFIER,
            id="bindir",
            init=_bindir,
            config=BinDirConfig,
            platforms=("linux",),
            summary="Asks the programs of a folder whether an image may come in.",
        ),
    )


def _bindir(context: PluginContext) -> object:
    if sys.platform == "linux":
        from .bindir import BinDir

        config = context.config_as(BinDirConfig)
        return BinDir(
            Path(config.bin_dir),
            Path(context.state),
            context.pools,
            config.max_verifiers,
            config.per_verifier_timeout,
            config.pass_credentials,
        )
    raise SkipPlugin("programs are run and ended as a group on Linux only")


def _verifiers(context: PluginContext) -> Verifiers:
    """Those left out on purpose, or because they are not for this host, do not count."""
    broken = {
        view.registration.id: view.error or RuntimeError(f"it is {view.state}")
        for view in context.plugins.values()
        if view.registration.type.uri == IMAGE_VERIFIER.uri and view.state is State.ERROR
    }
    return Verifiers(context.each(IMAGE_VERIFIER), broken)


def _streams(context: PluginContext) -> object:
    from .streams import KIND, OpenStreams, StreamCollector

    streams = OpenStreams()
    register = getattr(context.one(METADATA), "register_collector", None)
    if register is not None:  # a store of third parties may have no such door
        register(KIND, StreamCollector(streams))
    return streams


def _choice(context: PluginContext, config: TransferConfig) -> "UnpackChoice":
    from .unpacking_choice import UnpackChoice, checked

    differs = context.each(DIFFER)
    entries = checked(config.unpack_config, context.one(METADATA).snapshotters(), differs, context.uri)
    service = cast("Differ", context.one(SERVICE))
    return UnpackChoice(entries, differs, service, config.check_platform_supported)


def _transferer(context: PluginContext) -> object:
    import asyncio
    import os

    from .local import LocalTransferer
    from .parts import Parts

    config = context.config_as(TransferConfig)
    if min(config.max_concurrent_downloads, config.max_concurrent_uploaded_layers) < 1:
        raise InvalidArgument(f"{context.uri}: max_concurrent_… must be at least 1")
    unpacks = config.max_concurrent_unpacks if config.max_concurrent_unpacks > 0 else max(2, os.cpu_count() or 2)
    return LocalTransferer(
        Parts(
            metadata=context.one(METADATA),
            leases=context.one(LEASE),
            differs=_choice(context, config),
            pools=context.pools,
            supervisor=context.supervisor,
            hooks=context.hooks,
            config=config,
            plugins=context.plugins,
            downloads=asyncio.Semaphore(config.max_concurrent_downloads),
            unpacks=asyncio.Semaphore(unpacks),
            arriving=asyncio.Semaphore(unpacks),
            uploads=asyncio.Semaphore(config.max_concurrent_uploaded_layers),
            verifiers=_verifiers(context),
        )
    )
