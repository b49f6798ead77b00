"""The runtime: all tasks, found again after a restart, each with its shim, each cleaned up when its shim is lost."""

import asyncio
import logging
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from corten import identifiers
from corten.api.events import task_pb2 as events
from corten.contracts.events import Exchange
from corten.contracts.mounts import MountManager
from corten.contracts.objects import AnyValue
from corten.contracts.runtime import CreateOptions, Exit, ShimProvider
from corten.errors import AlreadyExists, CortenError, InvalidArgument, NotFound
from corten.pools import Pools
from corten.supervisor import Supervisor

# ruff: noqa: E402  (what is imported below exists on Linux only)
assert sys.platform != "win32"

from . import bundle as bundles
from . import names
from .bundle import Bundles
from .copier import stream_at
from .links import Links
from .migrations import Migrations
from .options import check as check_options
from .roots import Roots
from .sandbox import tasks as sandboxed
from .sandbox.endpoints import url
from .task import ShimTask

log = logging.getLogger(__name__)
ADOPT_DEADLINE = 5.0
"""Seconds for one shim to answer after a restart, independent of the others."""
SHUTDOWN_DEADLINE = 3.0
END_DEADLINE = 6.0
"""Seconds in which a shim that has no task any more may deliver what it has to tell."""
RECONNECTS = 3
"""Attempts to reach a shim whose connection broke, before it counts as lost."""
Key = tuple[str, str]


class TaskRuntime:
    """All tasks (contract `Runtime`). `start` finds those of before; `close` lets shims go on."""

    def __init__(
        self,
        store: Bundles,
        providers: Mapping[str, ShimProvider],
        exchange: Exchange,
        pools: Pools,
        supervisor: Supervisor,
        mounts: MountManager | None = None,
    ) -> None:
        self._bundles, self._providers, self._exchange = store, providers, exchange
        self._pools, self._supervisor = pools, supervisor
        self._roots = Roots(mounts, pools)
        self._links = Links()
        self._migrations = Migrations(pools)
        self._tasks: dict[Key, ShimTask] = {}
        self._pending: dict[Key, asyncio.Future[None]] = {}
        self._creating: set[Key] = set()
        self._closing = False

    def __repr__(self) -> str:
        return f"TaskRuntime(tasks={len(self._tasks)}, pending={len(self._pending)})"

    async def start(self) -> None:
        """Begin to adopt the tasks that are there; returns at once, and calls wait for the task they ask for."""
        for key, record in await self._pools.run("runtime", self._records):
            self._pending[key] = asyncio.get_running_loop().create_future()
            self._recall(key, record)  # of all, before any is given up: several may have one shim
            self._supervisor.background(f"adopt task {'/'.join(key)}", self._adopt(key, record))

    async def close(self) -> None:
        """Leave all shims to themselves."""
        self._closing = True
        for task in list(self._tasks.values()):
            await task.disconnect()
        for provider in self._providers.values():
            close = getattr(provider, "close", None)
            if close is not None:
                await close()

    async def create(self, namespace: str, id: str, options: CreateOptions) -> ShimTask:
        identifiers.validate(namespace, "namespace")
        identifiers.validate(id, "task id")
        self._migrations.expect()
        key = (namespace, id)
        if key not in self._creating:
            await self._settled(key)
        if key in self._tasks or key in self._pending:
            raise AlreadyExists(f"task {id!r}: already exists")
        provider = self._starter(namespace, options)
        self._pending[key] = asyncio.get_running_loop().create_future()
        self._creating.add(key)
        return await self._supervisor.operation(f"create task {id}", self._create(key, provider, options))

    async def prepare(self, runtime: str) -> None:
        try:
            await self.provider(runtime).prepare()
        except CortenError as error:
            log.debug("runtime %s: nothing was made ready: %s", runtime, error)

    async def get(self, namespace: str, id: str) -> ShimTask:
        await self._settled((namespace, id))  # for one that is created too: its client may have left, and want it gone
        task = self._tasks.get((namespace, id))
        if task is None:
            raise NotFound(f"task {id!r}: does not exist")
        return task

    async def list(self, namespace: str) -> Sequence[ShimTask]:
        waiting = [future for key, future in self._pending.items() if key[0] == namespace and key not in self._creating]
        if waiting:
            await asyncio.wait(waiting)
        return [task for key, task in sorted(self._tasks.items()) if key[0] == namespace]

    async def plugin_info(self, runtime_path: str, options: AnyValue | None) -> AnyValue:
        runtime = runtime_path or names.OWN
        return await self.provider(runtime).plugin_info(runtime, options)

    def provider(self, runtime: str) -> ShimProvider:
        """Who starts shims for a runtime name. Raises InvalidArgument for a name that is none."""
        names.shim_binary(runtime)
        for provider in self._providers.values():
            if provider.handles(runtime):
                return provider
        raise InvalidArgument(f"runtime {runtime!r}: no plugin starts its shims")

    def _starter(self, namespace: str, options: CreateOptions) -> ShimProvider:
        """The shim of the task's sandbox if that takes tasks, else who starts shims for its runtime."""
        inside = self._providers.get(sandboxed.KIND)
        if isinstance(inside, sandboxed.SandboxedTasks) and inside.takes(namespace, options):
            return inside
        runtime = options.runtime_path or options.runtime.name
        check_options(runtime, options.runtime.options)
        return self.provider(runtime)

    async def _create(self, key: Key, provider: ShimProvider, options: CreateOptions) -> ShimTask:
        try:
            path = str(await self._pools.run("runtime", self._bundles.create, *key, options.spec))
            try:
                options = await self._roots.prepare(*key, path, provider, options)
                if options.checkpoint:
                    marker = Path(path) / names.CHECKPOINT
                    await self._pools.run("runtime", bundles.write_private, marker, options.checkpoint.encode())
                endpoint = await provider.start(*key, path, options)
                if options.streaming:
                    await self._pools.run("runtime", stream_at, path, url(endpoint))
                task = ShimTask(*key, path, endpoint, provider, self._links, self._finish, self._migrations.expect)
                await task.connect(lambda: self._disconnected(task))
                try:
                    await task.create(options)
                except BaseException:
                    await task.disconnect()
                    raise
            except BaseException:
                await self._discard(key, provider, path)
                raise
            self._add(key, task)
            return task
        finally:
            self._done(key)

    async def _discard(self, key: Key, provider: ShimProvider, path: str) -> None:
        """A create that failed leaves nothing."""
        try:
            await provider.remove(*key, path)
        except CortenError as error:
            log.warning("task %s: after its creation failed: %s", "/".join(key), error.message)
        await self._clear(key)

    async def _clear(self, key: Key) -> None:
        """The bundle goes, with what is mounted in it, and then what is mounted below that."""
        activated = self._roots.used(self._bundles.path(*key))
        await self._pools.run("runtime", self._bundles.remove, *key)
        if activated:
            await self._roots.give_back(*key)

    async def _finish(self, task: ShimTask) -> None:
        """After a delete: the shim and the bundle go."""
        key = (task.namespace, task.id)
        self._pending[key] = asyncio.get_running_loop().create_future()
        self._tasks.pop(key, None)
        try:
            await self._leave(task)
            task.provider.release(task.bundle)
            await self._clear(key)
        finally:
            self._done(key)

    async def _leave(self, task: ShimTask, until_end: float = 0.0) -> None:
        """Ask its shim to end, unless other tasks are in it; wait so many seconds for that."""
        if task.provider.retire(task.bundle):
            await task.shut_down(SHUTDOWN_DEADLINE, until_end)
        else:
            await task.disconnect()

    def _records(self) -> Sequence[tuple[Key, Mapping[str, object]]]:
        return [(key, bundles.read_bootstrap(self._bundles.path(*key))) for key in self._bundles.all()]

    def _recall(self, key: Key, record: Mapping[str, object]) -> None:
        if bundles.of_this_boot(record):
            try:
                self._recorded(record).adopt(str(self._bundles.path(*key)))
            except CortenError as error:
                log.warning("task %s: %s", "/".join(key), error.message)

    async def _adopt(self, key: Key, record: Mapping[str, object]) -> None:
        path = str(self._bundles.path(*key))
        try:
            task, told = await self._reach(key, path, record) if bundles.of_this_boot(record) else (None, False)
            if task is not None:
                self._add(key, task)
                return
            await self._bury(key, path, record, None, told=told)
        except Exception:
            log.exception("task %s: neither its shim nor its remains can be dealt with", "/".join(key))
        finally:
            self._done(key)

    async def _reach(self, key: Key, path: str, record: Mapping[str, object]) -> tuple[ShimTask | None, bool]:
        """The task behind a bundle, if its shim answers in time and has it; and whether the shim has told its end.

        A shim that has no such task never had it, or has deleted it and told so, or tells it before it ends.
        """
        provider = self._recorded(record)
        endpoint = bundles.endpoint(record)
        task = ShimTask(*key, path, endpoint, provider, self._links, self._finish, self._migrations.expect)
        try:
            async with asyncio.timeout(ADOPT_DEADLINE):
                await task.connect(lambda: self._disconnected(task), ADOPT_DEADLINE)
                found = await task.adopt(ADOPT_DEADLINE)
        except (CortenError, TimeoutError) as error:
            log.warning("task %s: its shim does not answer: %s", "/".join(key), error)
            await task.disconnect()
            return None, False
        if found:
            return task, True
        await self._leave(task, END_DEADLINE)
        return None, True

    def _disconnected(self, task: ShimTask) -> None:
        key = (task.namespace, task.id)
        if not self._closing and not task.gone.done() and self._tasks.get(key) is task:
            self._unsettle(key)  # who asks waits for the outcome
            self._supervisor.background(f"lost shim of task {task.id}", self._lost(task))

    async def _lost(self, task: ShimTask) -> None:
        """The connection broke: reach the shim again, or bury the task."""
        try:
            for _ in range(RECONNECTS):
                try:
                    return await task.connect(lambda: self._disconnected(task), 1.0)
                except CortenError:
                    await asyncio.sleep(0.05)
            await self._give_up(task, "has died")
        finally:
            self._done((task.namespace, task.id))

    def _add(self, key: Key, task: ShimTask) -> None:
        self._tasks[key] = task
        task.on_hang = lambda: self._supervisor.background(
            f"hung shim of task {task.id}", self._give_up(task, "does not answer")
        )

    async def _give_up(self, task: ShimTask, reason: str) -> None:
        """Bury a task whose shim is of no use any more."""
        key = (task.namespace, task.id)
        if self._tasks.get(key) is not task:
            return
        log.warning("task %s: its shim %s: the container is killed and removed", "/".join(key), reason)
        self._unsettle(key)
        self._tasks.pop(key, None)
        try:
            await self._bury(key, task.bundle, bundles.read_bootstrap(self._bundles.path(*key)), task)
        finally:
            self._done(key)

    async def _bury(
        self, key: Key, path: str, record: Mapping[str, object], task: ShimTask | None, *, told: bool = False
    ) -> None:
        """End what is left of a task without a shim, and tell the world, which has not heard of its end."""
        ended = Exit(task.pid if task else 0, 137, 0)
        if record:
            ended = await self._recorded(record).remove(*key, path)
        heard = task.known_exit() if task else None
        ended = heard or Exit(ended.pid or (task.pid if task else 0), ended.status, ended.exited_at)
        if task is not None:
            task.over(ended)
            await task.disconnect()
        if ended.pid and not told:
            self._publish_end(key, ended, exit_heard=heard is not None)
        await self._clear(key)

    def _recorded(self, record: Mapping[str, object]) -> ShimProvider:
        """The provider that a bundle says has started its shim."""
        known = record.get("corten")
        kind = known.get("kind") if isinstance(known, dict) else None
        return self._providers[kind if kind in ("binary", sandboxed.KIND) else "runc"]

    def _publish_end(self, key: Key, ended: Exit, *, exit_heard: bool) -> None:
        namespace, id = key
        exit = events.TaskExit(container_id=id, id=id, pid=ended.pid, exit_status=ended.status)
        delete = events.TaskDelete(container_id=id, pid=ended.pid, exit_status=ended.status)
        for event in (exit, delete):
            event.exited_at.FromNanoseconds(ended.exited_at)
        if not exit_heard:
            self._exchange.publish(namespace, "/tasks/exit", exit)
        self._exchange.publish(namespace, "/tasks/delete", delete)

    async def _settled(self, key: Key) -> None:
        """Wait until a task that is being adopted, or taken away, is there or gone."""
        waiting = self._pending.get(key)
        if waiting is not None:
            await asyncio.shield(waiting)

    def _unsettle(self, key: Key) -> None:
        if key not in self._pending:
            self._pending[key] = asyncio.get_running_loop().create_future()

    def _done(self, key: Key) -> None:
        self._creating.discard(key)
        waiting = self._pending.pop(key, None)
        if waiting is not None and not waiting.done():
            waiting.set_result(None)
