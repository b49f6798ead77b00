"""How each plugin of this package is made; implementations are imported only here, when they are wanted."""

from typing import cast

from corten.contracts.diff import Differ
from corten.errors import InvalidArgument
from corten.plugin.model import PluginContext
from corten.plugin.types import (
    DIFFER,
    EVENT,
    GC,
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
    WARNING,
)

from .config import DiffConfig, ExchangeConfig

DIFF_SERVICE = "diff-service"


def exchange(context: PluginContext) -> object:
    from .exchange import ExchangePlugin

    config = context.config_as(ExchangeConfig)
    if config.subscriber_bound < 1:
        raise InvalidArgument(f"{context.uri}: subscriber_bound is {config.subscriber_bound}; it must be at least 1")
    return ExchangePlugin(config.subscriber_bound, context.hooks, context.supervisor)


def deprecations(context: PluginContext) -> object:
    from .deprecations import Deprecations

    return Deprecations()


def ordered_differ(context: PluginContext) -> object:
    from .ordered_differ import ordered

    config = context.config_as(DiffConfig)
    return ordered(config.default, context.each(DIFFER), context.failures(DIFFER), config.sync_fs)


def version(context: PluginContext) -> object:
    from corten.api.services.version.v1.version_pb2 import DESCRIPTOR

    from .provider import provider
    from .version import VersionService

    return provider(DESCRIPTOR, "Version", VersionService())


def introspection(context: PluginContext) -> object:
    from corten.api.services.introspection.v1.introspection_pb2 import DESCRIPTOR

    from .introspection import IntrospectionService
    from .provider import provider

    warnings = context.each(WARNING).get("deprecations")
    service = IntrospectionService(context.plugins, context.booted, warnings, context.root, context.pools)
    return provider(DESCRIPTOR, "Introspection", service)


def namespaces(context: PluginContext) -> object:
    from corten.api.services.namespaces.v1.namespace_pb2 import DESCRIPTOR

    from .namespaces import NamespacesService
    from .provider import provider

    return provider(DESCRIPTOR, "Namespaces", NamespacesService(context.one(METADATA).namespaces, context.pools))


def containers(context: PluginContext) -> object:
    from corten.api.services.containers.v1.containers_pb2 import DESCRIPTOR

    from .containers import ContainersService
    from .provider import provider

    runtime = context.each(RUNTIME).get("task")
    service = ContainersService(context.one(METADATA), runtime, context.pools, context.supervisor)
    return provider(DESCRIPTOR, "Containers", service)


def content(context: PluginContext) -> object:
    from corten.api.services.content.v1.content_pb2 import DESCRIPTOR

    from .content import ContentService
    from .provider import provider

    return provider(DESCRIPTOR, "Content", ContentService(context.one(METADATA), context.pools))


def images(context: PluginContext) -> object:
    from corten.api.services.images.v1.images_pb2 import DESCRIPTOR

    from .images import ImagesService
    from .provider import provider

    metadata, collector = context.one(METADATA), context.one(GC)
    service = ImagesService(metadata, collector, context.pools, context.hooks, context.supervisor)
    return provider(DESCRIPTOR, "Images", service)


def leases(context: PluginContext) -> object:
    from corten.api.services.leases.v1.leases_pb2 import DESCRIPTOR

    from .leases import LeasesService
    from .provider import provider

    return provider(DESCRIPTOR, "Leases", LeasesService(context.one(LEASE), context.pools))


def snapshots(context: PluginContext) -> object:
    from corten.api.services.snapshots.v1.snapshots_pb2 import DESCRIPTOR

    from .provider import provider
    from .snapshots import SnapshotsService

    return provider(DESCRIPTOR, "Snapshots", SnapshotsService(context.one(METADATA), context.pools))


def diff(context: PluginContext) -> object:
    from corten.api.services.diff.v1.diff_pb2 import DESCRIPTOR

    from .diff import DiffService
    from .provider import provider

    differ = cast("Differ", context.one(SERVICE))
    return provider(DESCRIPTOR, "Diff", DiffService(differ, context.one(METADATA), context.pools))


def attachments(context: PluginContext) -> object:
    from corten.api.services.attachments.v1.attachments_pb2 import DESCRIPTOR

    from .attachments import AttachmentsService
    from .provider import provider

    return provider(DESCRIPTOR, "Attachments", AttachmentsService(context.one(RUNTIME)))


def tasks(context: PluginContext) -> object:
    from corten.api.services.tasks.v1.tasks_pb2 import DESCRIPTOR

    from .checkpoints import Checkpoints
    from .provider import provider
    from .task_creation import Ingredients
    from .tasks import TasksService

    metadata, differ = context.one(METADATA), context.each(SERVICE).get(DIFF_SERVICE)
    ingredients = Ingredients(metadata, context.hooks, context.pools)
    checkpoints = Checkpoints(context.state, cast("Differ | None", differ))
    service = TasksService(context.one(RUNTIME), metadata, ingredients, checkpoints, context.pools)
    return provider(DESCRIPTOR, "Tasks", service)


def events(context: PluginContext) -> object:
    from corten.api.services.events.v1.events_pb2 import DESCRIPTOR

    from .events import EventsService
    from .provider import provider

    return provider(DESCRIPTOR, "Events", EventsService(context.one(EVENT)))


def ttrpc_events(context: PluginContext) -> object:
    from corten.api.services.ttrpc.events.v1.events_pb2 import DESCRIPTOR

    from .events import ForwardService
    from .provider import provider

    return provider(DESCRIPTOR, "Events", ForwardService(context.one(EVENT)))


def sandboxes(context: PluginContext) -> object:
    from corten.api.services.sandbox.v1.sandbox_pb2 import DESCRIPTOR

    from .provider import provider
    from .sandboxes import SandboxesService

    return provider(DESCRIPTOR, "Store", SandboxesService(context.one(SANDBOX_STORE), context.pools))


def sandbox_controllers(context: PluginContext) -> object:
    from corten.api.services.sandbox.v1.sandbox_pb2 import DESCRIPTOR

    from .provider import provider
    from .sandboxes_controller import SandboxControllers

    controllers = {**context.each(POD_SANDBOX_CONTROLLER), **context.each(SANDBOX_CONTROLLER)}
    return provider(DESCRIPTOR, "Controller", SandboxControllers(controllers, context.one(EVENT)))


def mounts(context: PluginContext) -> object:
    from corten.api.services.mounts.v1.mounts_pb2 import DESCRIPTOR

    from .mounts import MountsService
    from .provider import provider

    return provider(DESCRIPTOR, "Mounts", MountsService(context.one(MOUNT_MANAGER), context.pools))


def streaming(context: PluginContext) -> object:
    from corten.api.services.streaming.v1.streaming_pb2 import DESCRIPTOR

    from .provider import provider
    from .streaming import StreamingService

    return provider(DESCRIPTOR, "Streaming", StreamingService(context.one(STREAMING)))


def transfers(context: PluginContext) -> object:
    from corten.api.corten.images.v1.images_pb2 import DESCRIPTOR

    from .provider import provider
    from .transfers import TransfersService

    return provider(DESCRIPTOR, "Transfers", TransfersService(list(context.each(TRANSFER).values())))


def transfer(context: PluginContext) -> object:
    from corten.api.services.transfer.v1.transfer_pb2 import DESCRIPTOR

    from .provider import provider
    from .transfer import TransferService

    transferers = list(context.each(TRANSFER).values())
    return provider(DESCRIPTOR, "Transfer", TransferService(transferers, context.one(STREAMING)))
