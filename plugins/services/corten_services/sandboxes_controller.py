"""The service `sandbox.v1.Controller`: the controllers of sandboxes, each under its name."""

from collections.abc import Mapping

from corten.api.events import sandbox_pb2 as events
from corten.api.services.sandbox.v1 import sandbox_pb2 as pb
from corten.api.types.metrics_pb2 import Metric
from corten.api.types.platform_pb2 import Platform
from corten.contracts.events import Exchange
from corten.contracts.objects import Sandbox
from corten.contracts.sandboxes import SandboxController, SandboxOptions
from corten.errors import InvalidArgument, NotFound
from corten.messages.sandboxes import sandbox
from corten.messages.values import mounts, named, optional_any, optional_message, present, timestamp
from corten.wire.service import CallContext, cancellable


class SandboxControllers:
    """Asks the controller that the request names, and tells of sandboxes that were created and started."""

    def __init__(self, controllers: Mapping[str, SandboxController], exchange: Exchange) -> None:
        self._controllers, self._exchange = controllers, exchange

    async def create(self, request: pb.ControllerCreateRequest, call: CallContext) -> pb.ControllerCreateResponse:
        namespace, id = call.scope().namespace, _id(request)
        record = sandbox(request.sandbox) if request.HasField("sandbox") else Sandbox(id, sandboxer=request.sandboxer)
        if record.id != id:
            raise InvalidArgument(f"sandbox {id!r}: the record in the request is that of {record.id!r}")
        options = SandboxOptions(
            rootfs=mounts(request.rootfs),
            options=optional_any(request, "options"),
            netns=request.netns_path,
            annotations=dict(request.annotations),
        )
        await self._named(request.sandboxer).create(namespace, record, options)
        self._exchange.publish(namespace, "/sandboxes/create", events.SandboxCreate(sandbox_id=id))
        return pb.ControllerCreateResponse(sandbox_id=id)

    async def start(self, request: pb.ControllerStartRequest, call: CallContext) -> pb.ControllerStartResponse:
        namespace, id = call.scope().namespace, _id(request)
        started = await self._named(request.sandboxer).start(namespace, id)
        self._exchange.publish(namespace, "/sandboxes/start", events.SandboxStart(sandbox_id=id))
        return pb.ControllerStartResponse(
            sandbox_id=started.id,
            pid=started.pid,
            created_at=timestamp(started.created_at),
            labels=dict(started.labels),
            address=started.address,
            version=started.version,
            spec=optional_message(started.spec),
        )

    @cancellable
    async def platform(self, request: pb.ControllerPlatformRequest, call: CallContext) -> pb.ControllerPlatformResponse:
        found = await self._named(request.sandboxer).platform(call.scope().namespace, _id(request))
        platform = Platform(os=found.os, architecture=found.architecture, variant=found.variant)
        return pb.ControllerPlatformResponse(platform=platform)

    async def stop(self, request: pb.ControllerStopRequest, call: CallContext) -> pb.ControllerStopResponse:
        namespace, id = call.scope().namespace, _id(request)
        await self._named(request.sandboxer).stop(namespace, id, timeout=float(request.timeout_secs))
        return pb.ControllerStopResponse()

    @cancellable
    async def wait(self, request: pb.ControllerWaitRequest, call: CallContext) -> pb.ControllerWaitResponse:
        ended = await self._named(request.sandboxer).wait(call.scope().namespace, _id(request))
        return pb.ControllerWaitResponse(exit_status=ended.status, exited_at=timestamp(ended.exited_at))

    @cancellable
    async def status(self, request: pb.ControllerStatusRequest, call: CallContext) -> pb.ControllerStatusResponse:
        namespace, id = call.scope().namespace, _id(request)
        found = await self._named(request.sandboxer).status(namespace, id, verbose=request.verbose)
        return pb.ControllerStatusResponse(
            sandbox_id=found.id,
            pid=found.pid,
            state=found.state,
            info=dict(found.info),
            created_at=timestamp(found.created_at),
            exited_at=timestamp(found.exited_at),
            extra=optional_message(found.extra),
            address=found.address,
            version=found.version,
        )

    async def shutdown(self, request: pb.ControllerShutdownRequest, call: CallContext) -> pb.ControllerShutdownResponse:
        await self._named(request.sandboxer).shutdown(call.scope().namespace, _id(request))
        return pb.ControllerShutdownResponse()

    @cancellable
    async def metrics(self, request: pb.ControllerMetricsRequest, call: CallContext) -> pb.ControllerMetricsResponse:
        found = await self._named(request.sandboxer).metrics(call.scope().namespace, _id(request))
        metric = Metric(id=found.id, timestamp=timestamp(found.at), data=optional_message(found.data))
        return pb.ControllerMetricsResponse(metrics=metric)

    async def update(self, request: pb.ControllerUpdateRequest, call: CallContext) -> pb.ControllerUpdateResponse:
        present(request, "sandbox")
        namespace, id = call.scope().namespace, _id(request)
        record = sandbox(request.sandbox)
        await self._named(request.sandboxer).update(namespace, id, record, list(request.fields))
        return pb.ControllerUpdateResponse()

    def _named(self, name: str) -> SandboxController:
        controller = self._controllers.get(named(name, "sandboxer"))
        if controller is None:
            known = ", ".join(sorted(self._controllers)) or "none"
            raise NotFound(f"sandboxer {name!r}: there is no controller of that name (there are: {known})")
        return controller


def _id(request: object) -> str:
    return named(getattr(request, "sandbox_id", ""), "sandbox id")
