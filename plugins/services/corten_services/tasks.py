"""The service `Tasks`: the running side of containers."""

import asyncio

from corten import filters, identifiers
from corten.api.services.tasks.v1 import tasks_pb2 as pb
from corten.api.types.runc.options.oci_pb2 import CheckpointOptions
from corten.api.types.task import task_pb2
from corten.contracts.metadata import Metadata
from corten.contracts.objects import AnyValue
from corten.contracts.runtime import Runtime, Task
from corten.contracts.scope import Scope
from corten.errors import AlreadyExists, FailedPrecondition, InvalidArgument, NotFound
from corten.messages.tasks import delete_response, process_message, stdio
from corten.messages.values import (
    any_value,
    descriptor,
    descriptor_message,
    named,
    optional_any,
    optional_message,
    present,
    timestamp,
)
from corten.pools import Pools
from corten.wire.service import CallContext, cancellable
from google.protobuf.empty_pb2 import Empty
from google.protobuf.message import DecodeError

from .checkpoints import Checkpoints
from .task_creation import Ingredients, checkpoint_folder, create_options
from .task_reports import metric_of, state_lookup, state_of, task_lookup


class TasksService:
    """A thin layer over the runtime; what a task is made from comes from the metadata store."""

    def __init__(
        self, runtime: Runtime, metadata: Metadata, ingredients: Ingredients, checkpoints: Checkpoints, pools: Pools
    ) -> None:
        self._runtime = runtime
        self._metadata = metadata
        self._ingredients = ingredients
        self._checkpoints = checkpoints
        self._pools = pools

    async def create(self, request: pb.CreateTaskRequest, call: CallContext) -> pb.CreateTaskResponse:
        scope, id = call.scope(), _container_id(request.container_id)
        container = self._ingredients.container(scope, id)
        spec = await self._ingredients.spec(scope.namespace, container)
        rootfs = await self._ingredients.rootfs(scope, container, request)
        call.checkpoint()
        checkpoint = await self._checkpoint(scope, id, request)
        try:
            options = create_options(container, request, spec, rootfs, checkpoint)
            task = await self._runtime.create(scope.namespace, id, options)
        except BaseException:
            await self._discard_checkpoint(scope, id, request)
            raise
        return pb.CreateTaskResponse(container_id=id, pid=task.pid)

    async def start(self, request: pb.StartRequest, call: CallContext) -> pb.StartResponse:
        task = await self._task(request.container_id, call)
        return pb.StartResponse(pid=await task.start(request.exec_id))

    async def delete(self, request: pb.DeleteTaskRequest, call: CallContext) -> pb.DeleteResponse:
        task = await self._task(request.container_id, call)
        exit = await task.delete()
        if self._checkpoints.restored(task.namespace, task.id):
            await self._pools.run("diff", self._checkpoints.discard, task.namespace, task.id)
        return delete_response("", exit)

    async def delete_process(self, request: pb.DeleteProcessRequest, call: CallContext) -> pb.DeleteResponse:
        task = await self._task(request.container_id, call)
        exec_id = named(request.exec_id, "exec id")
        return delete_response(exec_id, await task.delete(exec_id))

    @cancellable
    async def get(self, request: pb.GetRequest, call: CallContext) -> pb.GetResponse:
        task = await self._task(request.container_id, call)
        return pb.GetResponse(process=process_message(await task.state(request.exec_id)))

    @cancellable
    async def list(self, request: pb.ListTasksRequest, call: CallContext) -> pb.ListTasksResponse:
        """Filter fields: id, status. A task whose shim does not answer in time has the status unknown."""
        matches = filters.compile([request.filter] if request.filter else [])
        found = await self._runtime.list(call.scope().namespace)
        states = await asyncio.gather(*(state_of(task) for task in found))
        kept = [state for state in states if state and matches(state_lookup(state))]
        return pb.ListTasksResponse(tasks=[process_message(state) for state in kept])

    async def kill(self, request: pb.KillRequest, call: CallContext) -> Empty:
        task = await self._task(request.container_id, call)
        await task.kill(request.signal, request.exec_id, all=request.all)
        return Empty()

    async def exec(self, request: pb.ExecProcessRequest, call: CallContext) -> Empty:
        identifiers.validate(request.exec_id, "exec id")
        present(request, "spec")
        task = await self._task(request.container_id, call)
        await task.exec(request.exec_id, any_value(request.spec), stdio(request))
        return Empty()

    async def resize_pty(self, request: pb.ResizePtyRequest, call: CallContext) -> Empty:
        task = await self._task(request.container_id, call)
        await task.resize_pty(request.width, request.height, request.exec_id)
        return Empty()

    async def close_io(self, request: pb.CloseIORequest, call: CallContext) -> Empty:
        task = await self._task(request.container_id, call)
        if request.stdin:
            await task.close_stdin(request.exec_id)
        else:
            await task.state(request.exec_id)  # nothing is asked for, but of a process that must be there
        return Empty()

    async def pause(self, request: pb.PauseTaskRequest, call: CallContext) -> Empty:
        await (await self._task(request.container_id, call)).pause()
        return Empty()

    async def resume(self, request: pb.ResumeTaskRequest, call: CallContext) -> Empty:
        await (await self._task(request.container_id, call)).resume()
        return Empty()

    @cancellable
    async def list_pids(self, request: pb.ListPidsRequest, call: CallContext) -> pb.ListPidsResponse:
        found = await (await self._task(request.container_id, call)).pids()
        return pb.ListPidsResponse(
            processes=[task_pb2.ProcessInfo(pid=pid, info=optional_message(info)) for pid, info in found]
        )

    async def checkpoint(self, request: pb.CheckpointTaskRequest, call: CallContext) -> pb.CheckpointTaskResponse:
        """Into the folder that the options name, or else into the content store."""
        scope, task = call.scope(), await self._task(request.container_id, call)
        options = optional_any(request, "options")
        if folder := _checkpoint_target(options):
            await task.checkpoint(folder, options)
            return pb.CheckpointTaskResponse()
        return await self._checkpoint_to_content(scope, task, options)

    async def update(self, request: pb.UpdateTaskRequest, call: CallContext) -> Empty:
        task = await self._task(request.container_id, call)
        present(request, "resources")
        await task.update(any_value(request.resources), dict(request.annotations))
        return Empty()

    @cancellable
    async def metrics(self, request: pb.MetricsRequest, call: CallContext) -> pb.MetricsResponse:
        """Filter fields: id, namespace. Tasks that end meanwhile are left out."""
        matches = filters.compile(list(request.filters))
        found = [task for task in await self._runtime.list(call.scope().namespace) if matches(task_lookup(task))]
        metrics = await asyncio.gather(*(metric_of(task) for task in found))
        return pb.MetricsResponse(metrics=[metric for metric in metrics if metric])

    @cancellable
    async def wait(self, request: pb.WaitRequest, call: CallContext) -> pb.WaitResponse:
        exit = await (await self._task(request.container_id, call)).wait(request.exec_id)
        return pb.WaitResponse(exit_status=exit.status, exited_at=timestamp(exit.exited_at))

    async def _task(self, id: str, call: CallContext) -> Task:
        return await self._runtime.get(call.scope().namespace, _container_id(id))

    async def _checkpoint(self, scope: Scope, id: str, request: pb.CreateTaskRequest) -> str:
        """The folder to restore from; empty for a task that starts afresh."""
        if folder := checkpoint_folder(request):
            return folder
        if not request.HasField("checkpoint"):
            return ""
        await self._refuse_existing(scope, id)
        image, content = descriptor(request.checkpoint), self._metadata.content(scope)
        return await self._pools.run("diff", self._checkpoints.restore, scope.namespace, id, image, content)

    async def _refuse_existing(self, scope: Scope, id: str) -> None:
        """The folder to restore from is that of the task, so a second task must not come near it."""
        try:
            await self._runtime.get(scope.namespace, id)
        except NotFound:
            return
        raise AlreadyExists(f'task "{id}": it exists already')

    async def _discard_checkpoint(self, scope: Scope, id: str, request: pb.CreateTaskRequest) -> None:
        if request.HasField("checkpoint"):
            await self._pools.run("diff", self._checkpoints.discard, scope.namespace, id)

    async def _checkpoint_to_content(
        self, scope: Scope, task: Task, options: AnyValue | None
    ) -> pb.CheckpointTaskResponse:
        container = self._ingredients.container(scope, task.id)
        if container.spec is None:
            raise FailedPrecondition(f'container "{container.id}": cannot checkpoint its task: it has no OCI spec')
        content = self._metadata.content(scope)
        folder = await self._pools.run("diff", self._checkpoints.scratch)
        try:
            await task.checkpoint(str(folder), options)
            saved = await self._pools.run("diff", self._checkpoints.save, folder, container.spec, content)
        finally:
            await self._pools.run("diff", self._checkpoints.remove, folder)
        return pb.CheckpointTaskResponse(descriptors=[descriptor_message(each) for each in saved])


def _checkpoint_target(options: AnyValue | None) -> str:
    """The folder that the options name, if they do. Of options of another type containerd's shim dies."""
    if options is None:
        return ""
    name = CheckpointOptions.DESCRIPTOR.full_name
    if options.type_url.rpartition("/")[2] != name:
        raise InvalidArgument(f"checkpoint options: their type is {options.type_url!r}; it takes {name}")
    try:
        return CheckpointOptions.FromString(options.value).image_path
    except DecodeError as error:
        raise InvalidArgument(f"checkpoint options: they are no {options.type_url}: {error}") from error


def _container_id(id: str) -> str:
    return named(id, "container id")
