"""The servers and the health service as plugins; nothing heavy is imported here."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from corten.errors import InvalidArgument
from corten.plugin.model import PluginContext, Registration, SkipPlugin, each, later
from corten.plugin.types import GRPC, METRICS, SERVER, TTRPC, PluginType

from .limits import CallTotalsConfig, GrpcConfig, GrpcTcpConfig, TtrpcConfig

if TYPE_CHECKING:
    from .catalogue import Catalogue
    from .grpc.listeners import ServerTls
    from .service import ServiceProvider
    from .totals import CallTotals

TOTALS = "grpc-prometheus"


def plugins() -> tuple[Registration, ...]:
    """gRPC on the socket, gRPC on TCP, ttrpc, and the health service."""
    return (
        Registration(
            type=GRPC,
            id="healthcheck",
            init=_health,
            serves=("grpc.health.v1.Health",),
            summary="Says whether the daemon and each of its services take calls.",
        ),
        Registration(
            type=METRICS,
            id=TOTALS,
            init=_totals,
            config=CallTotalsConfig,
            summary="Counts the calls of each gRPC method for the metrics endpoint.",
        ),
        Registration(
            type=SERVER,
            id="grpc",
            requires=(later(GRPC), each(METRICS)),
            config=GrpcConfig,
            init=_grpc,
            summary="Serves containerd's gRPC services on a unix socket.",
        ),
        Registration(
            type=SERVER,
            id="grpc-tcp",
            requires=(later(GRPC), each(METRICS)),
            config=GrpcTcpConfig,
            init=_grpc_tcp,
            summary="Serves the same on TCP, for clients with a certificate.",
        ),
        Registration(
            type=SERVER,
            id="ttrpc",
            requires=(later(TTRPC),),
            config=TtrpcConfig,
            init=_ttrpc,
            summary="Serves containerd's ttrpc services, which shims call, on a unix socket.",
        ),
    )


def _health(context: PluginContext) -> object:
    from .health import Health

    return Health(context.plugins, context.booted)


def _grpc(context: PluginContext) -> object:
    if sys.platform != "win32":
        from .grpc.server import GrpcServer
        from .grpc.unix_listener import UnixListener
        from .unix import Owner

        config = context.config_as(GrpcConfig)
        listener = UnixListener(config.address or context.grpc_address, Owner(config.uid, config.gid))
        return GrpcServer(listener, _catalogue(context, GRPC), context.supervisor, config, _counted(context))
    raise SkipPlugin("unix sockets are for Unix hosts")


def _grpc_tcp(context: PluginContext) -> object:
    config = context.config_as(GrpcTcpConfig)
    if not config.address:
        raise SkipPlugin("no address is set for gRPC over TCP")
    from .address import parse
    from .grpc.listeners import TcpListener
    from .grpc.server import GrpcServer

    address = parse(config.address)
    if address.path:
        raise InvalidArgument(f"address {config.address!r} of grpc-tcp: not host:port")
    listener = TcpListener(address, _tls(config))
    return GrpcServer(listener, _catalogue(context, GRPC), context.supervisor, config, _counted(context))


def _totals(context: PluginContext) -> object:
    from .totals import CallTotals

    return CallTotals(context.config_as(CallTotalsConfig).grpc_histogram)


def _counted(context: PluginContext) -> CallTotals | None:
    """Where calls are counted; None if that plugin is disabled."""
    return context.each(METRICS).get(TOTALS)


def _ttrpc(context: PluginContext) -> object:
    if sys.platform != "win32":
        from .ttrpc.server import TtrpcServer
        from .unix import Owner

        config = context.config_as(TtrpcConfig)
        path, owner = config.address or context.ttrpc_address, Owner(config.uid, config.gid)
        return TtrpcServer(path, _catalogue(context, TTRPC), context.supervisor, config, owner)
    raise SkipPlugin("unix sockets are for Unix hosts")


def _catalogue(context: PluginContext, type: PluginType[ServiceProvider]) -> Catalogue:
    from .growing import GrowingCatalogue

    return GrowingCatalogue(context, type)


def _tls(config: GrpcTcpConfig) -> ServerTls | None:
    if config.tls_common_name and not config.tls_ca:
        raise InvalidArgument("tls_common_name of grpc-tcp: it needs tls_ca, or clients show no certificate")
    if not (config.tls_cert and config.tls_key):
        if config.tls_cert or config.tls_key or config.tls_ca:
            raise InvalidArgument("grpc-tcp: tls_cert and tls_key are set together, and tls_ca only with them")
        return None
    from .grpc.listeners import ServerTls

    return ServerTls(config.tls_cert, config.tls_key, config.tls_ca, config.tls_common_name)
