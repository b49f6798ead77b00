"""The restart monitor: every so often, each container with a wanted status is compared with its task, and helped."""

import asyncio
import json
import logging
import signal
import time
from collections.abc import Sequence
from dataclasses import replace

from corten.api.services.tasks.v1 import tasks_pb2 as pb
from corten.contracts.metadata import Metadata
from corten.contracts.objects import Container
from corten.contracts.runtime import ProcessState, Runtime, Status, Task
from corten.contracts.scope import Scope
from corten.errors import CortenError, NotFound
from corten.pools import Pools
from corten.supervisor import Supervisor
from corten.values import dataclass
from corten.wire.inside import Inside
from corten.wire.service import ServiceProvider

from . import policy
from .backoff import Backoff, Key
from .policy import Action

log = logging.getLogger(__name__)
AT_ONCE = 16
"""Containers that are started or stopped side by side."""
KILL_DEADLINE = 30.0
"""Seconds for a task to end after SIGKILL."""
_CHOSEN = f'labels."{policy.STATUS}"'


@dataclass(frozen=True, slots=True)
class Change:
    """What is to be done about one container."""

    namespace: str
    container: Container
    action: Action

    @property
    def key(self) -> Key:
        return self.namespace, self.container.id


class RestartMonitor:
    """Works while the daemon does; `start` begins."""

    def __init__(
        self,
        metadata: Metadata,
        runtime: Runtime,
        tasks: ServiceProvider,
        pools: Pools,
        supervisor: Supervisor,
        *,
        interval: float,
        max_backoff: float,
    ) -> None:
        self._metadata, self._runtime, self._tasks = metadata, runtime, tasks
        self._pools, self._supervisor = pools, supervisor
        self._interval = interval
        self._backoff = Backoff(interval, max(interval, max_backoff))
        self._unstarted: dict[Key, int] = {}
        self._told: dict[Key, str] = {}
        self._busy: set[Key] = set()
        self._ending: set[Key] = set()
        """Those whose task is being stopped for good: it may be killed and not deleted, and looks done then."""
        self._bound = asyncio.Semaphore(AT_ONCE)

    def __repr__(self) -> str:
        return f"RestartMonitor(every {self._interval:g} s)"

    async def start(self) -> None:
        self._supervisor.job("restart monitor", self._run)

    async def reconcile(self) -> None:
        """Look at all containers of all namespaces once, and begin what is to be done: none holds up another."""
        for change in await self._changes():
            self._busy.add(change.key)
            self._supervisor.background(f"restart {change.container.id}", self._in_turn(change))

    async def _in_turn(self, change: Change) -> None:
        try:
            async with self._bound:
                await self._apply(change)
        finally:
            self._busy.discard(change.key)

    async def _run(self) -> None:
        while True:
            await self.reconcile()
            await asyncio.sleep(self._interval)

    async def _changes(self) -> Sequence[Change]:
        found = await self._pools.run("metadata", self._chosen)
        keys = {(namespace, container.id) for namespace, container in found}
        self._backoff.keep(keys)
        self._told = {key: text for key, text in self._told.items() if key in keys}
        self._unstarted = {key: pid for key, pid in self._unstarted.items() if key in keys}
        self._ending &= keys
        idle = [pair for pair in found if (pair[0], pair[1].id) not in self._busy]
        return [change for pair in idle if (change := await self._change(*pair)) is not None]

    def _chosen(self) -> list[tuple[str, Container]]:
        return [
            (namespace.name, container)
            for namespace in self._metadata.namespaces.list()
            for container in self._metadata.containers(Scope(namespace.name)).walk([_CHOSEN])
        ]

    async def _change(self, namespace: str, container: Container) -> Change | None:
        key = (namespace, container.id)
        try:
            state = await self._state(namespace, container.id)
            status = state.status if state else None
            action = policy.decide(container.labels, status, state.exit_status if state else 0)
            if key in self._ending and container.labels.get(policy.STATUS) == status == Status.STOPPED:
                action = Action.STOP
            self._told.pop(key, None)
        except CortenError as error:
            self._tell_once(key, error.message)
            return None
        if action is Action.START and not self._due(key, container, state):
            return None
        return None if action is Action.NOTHING else Change(namespace, container, action)

    def _due(self, key: Key, container: Container, state: ProcessState | None) -> bool:
        """Not while a client is just about to start it: container and task are made before the task runs."""
        if state is None and time.time_ns() - container.created_at < self._interval * 1e9:
            return False
        if state is not None and state.status is Status.CREATED:
            before, self._unstarted[key] = self._unstarted.get(key), state.pid
            return before == state.pid and self._backoff.due(key, time.monotonic())
        return self._backoff.due(key, time.monotonic(), self._lasted(key, state))

    def _lasted(self, key: Key, state: ProcessState | None) -> float | None:
        started = self._backoff.since(key)
        if state is None or not state.exited_at or started is None:
            return None
        return time.monotonic() - (time.time_ns() - state.exited_at) / 1e9 - started

    async def _state(self, namespace: str, id: str) -> ProcessState | None:
        try:
            return await (await self._runtime.get(namespace, id)).state()
        except NotFound:
            return None

    async def _apply(self, change: Change) -> None:
        try:
            if change.action is Action.STOP:
                log.info("container %s/%s: its labels want it stopped", *change.key)
                self._ending.add(change.key)
                await self._end(change)
                self._ending.discard(change.key)
            else:
                await self._start(change)
        except CortenError as error:
            self._tell_once(change.key, error.message)
        except Exception:
            log.exception("container %s/%s: cannot %s it", *change.key, change.action.value)

    async def _start(self, change: Change) -> None:
        self._backoff.started(change.key, time.monotonic())
        scope, container = Scope(change.namespace), change.container
        _warn_of_old_label(change)
        number = policy.next_count(container.labels)
        counted = replace(container, labels={policy.COUNT: str(number)})
        await self._pools.run("metadata", self._metadata.containers(scope).update, counted, [f"labels.{policy.COUNT}"])
        await self._end(change)
        tasks = Inside(self._tasks, scope)
        await tasks.call("Create", _creation(container))
        try:
            await tasks.call("Start", pb.StartRequest(container_id=container.id))
        except CortenError:
            await self._end(change)
            raise
        self._told.pop(change.key, None)
        log.info("container %s/%s: started again (%d)", *change.key, number)

    async def _end(self, change: Change) -> None:
        """Kill the task if it runs, and delete it."""
        try:
            task = await self._runtime.get(*change.key)
        except NotFound:
            return
        tasks = Inside(self._tasks, Scope(change.namespace))
        async with asyncio.timeout(KILL_DEADLINE):
            await _kill(task)
            await task.wait()
        await tasks.call("Delete", pb.DeleteTaskRequest(container_id=change.container.id))

    def _tell_once(self, key: Key, text: str) -> None:
        """The same trouble comes every few seconds."""
        if self._told.get(key) != text:
            self._told[key] = text
            log.warning("container %s/%s: cannot be kept as its labels want: %s", *key, text)


def _warn_of_old_label(change: Change) -> None:
    """With each restart, as containerd does: the output of that run is lost."""
    if change.container.labels.get(policy.LOG_PATH):
        log.warning(
            "container %s/%s: its label %s is not heeded, as in containerd since 2.0; %s takes a URI (file:///PATH)",
            *change.key,
            policy.LOG_PATH,
            policy.LOG_URI,
        )


async def _kill(task: Task) -> None:
    try:
        await task.kill(int(getattr(signal, "SIGKILL", 9)), all=True)
    except NotFound:  # it has ended
        pass


def _creation(container: Container) -> pb.CreateTaskRequest:
    terminal = _has_terminal(container)
    uri = container.labels.get(policy.LOG_URI, "")
    return pb.CreateTaskRequest(
        container_id=container.id, terminal=terminal, stdout=uri, stderr="" if terminal else uri
    )


def _has_terminal(container: Container) -> bool:
    try:
        process = json.loads(container.spec.value if container.spec else b"{}").get("process") or {}
        return bool(process.get("terminal"))
    except (ValueError, AttributeError):
        return False  # the runtime says what is wrong with the spec
