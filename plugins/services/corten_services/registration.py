"""The registrations of this package; imports nothing of what they start."""

from collections.abc import Callable

from corten.plugin.model import PluginContext, Registration, Requirement, each, one
from corten.plugin.types import (
    DIFFER,
    EVENT,
    GC,
    GRPC,
    LEASE,
    METADATA,
    MOUNT_MANAGER,
    POD_SANDBOX_CONTROLLER,
    RUNTIME,
    SANDBOX_CONTROLLER,
    SANDBOX_STORE,
    SERVICE,
    STREAMING,
    TRANSFER,
    TTRPC,
    WARNING,
)

from . import starting
from .config import DiffConfig, ExchangeConfig

_META = one(METADATA)


def plugins() -> tuple[Registration, ...]:
    """The event exchange, the deprecation warnings, the ordered differs, and a plugin for each RPC service."""
    return (*_behind(), *_services())


def _behind() -> tuple[Registration, ...]:
    return (
        Registration(
            type=EVENT,
            id="exchange",
            init=starting.exchange,
            config=ExchangeConfig,
            summary="Carries every event, in order, to whoever subscribed.",
        ),
        Registration(
            type=WARNING,
            id="deprecations",
            init=starting.deprecations,
            summary="Collects the uses of deprecated features.",
        ),
        Registration(
            type=SERVICE,
            id="diff-service",
            init=starting.ordered_differ,
            requires=(each(DIFFER),),
            config=DiffConfig,
            summary="Asks the differs in the configured order.",
        ),
    )


def _services() -> tuple[Registration, ...]:
    return (
        _grpc("version", "version.v1.Version", starting.version),
        _grpc("introspection", "introspection.v1.Introspection", starting.introspection, each(WARNING)),
        _grpc("namespaces", "namespaces.v1.Namespaces", starting.namespaces, _META),
        _grpc("containers", "containers.v1.Containers", starting.containers, _META, each(RUNTIME)),
        _grpc("content", "content.v1.Content", starting.content, _META),
        _grpc("images", "images.v1.Images", starting.images, _META, one(GC)),
        _grpc("leases", "leases.v1.Leases", starting.leases, one(LEASE)),
        _grpc("snapshots", "snapshots.v1.Snapshots", starting.snapshots, _META),
        _grpc("diff", "diff.v1.Diff", starting.diff, _META, one(SERVICE, "diff-service")),
        _grpc("tasks", "tasks.v1.Tasks", starting.tasks, _META, one(RUNTIME, "task"), each(SERVICE)),
        _grpc("events", "events.v1.Events", starting.events, one(EVENT)),
        _grpc("sandboxes", "sandbox.v1.Store", starting.sandboxes, one(SANDBOX_STORE)),
        _grpc(
            "sandbox-controllers",
            "sandbox.v1.Controller",
            starting.sandbox_controllers,
            each(SANDBOX_CONTROLLER),
            each(POD_SANDBOX_CONTROLLER),
            one(EVENT),
        ),
        _grpc("mounts", "mounts.v1.Mounts", starting.mounts, one(MOUNT_MANAGER)),
        _grpc("streaming", "streaming.v1.Streaming", starting.streaming, one(STREAMING, "manager")),
        Registration(
            type=GRPC,
            id="transfers",
            init=starting.transfers,
            requires=(each(TRANSFER),),
            serves=("corten.images.v1.Transfers",),
            summary="Tells what transfers are under way.",
        ),
        _grpc("transfer", "transfer.v1.Transfer", starting.transfer, each(TRANSFER), one(STREAMING, "manager")),
        Registration(
            type=GRPC,
            id="attachments",
            init=starting.attachments,
            requires=(one(RUNTIME, "task"),),
            serves=("corten.services.attachments.v1.Attachments",),
            summary="Lets clients join running processes that keep a log.",
        ),
        Registration(
            type=TTRPC,
            id="events",
            init=starting.ttrpc_events,
            requires=(one(EVENT),),
            serves=("containerd.services.events.ttrpc.v1.Events",),
            summary="Takes the events of shims.",
        ),
    )


def _grpc(id: str, service: str, init: Callable[[PluginContext], object], *requires: Requirement) -> Registration:
    name = f"containerd.services.{service}"
    return Registration(type=GRPC, id=id, init=init, requires=requires, serves=(name,), summary=f"Serves {name}.")
