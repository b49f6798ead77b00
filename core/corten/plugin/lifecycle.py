"""`Lifecycle`: starts the plugins of a daemon side by side as their requirements allow, and stops them in reverse.

A plugin that fails, hangs or cannot have what it needs ends in state `error` with a sentence that says why; it takes
down only those that cannot do without it. Nothing that a plugin raises gets past this module.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import time
from collections.abc import Callable, Collection, Mapping, Sequence, Set
from types import TracebackType

from corten.errors import CortenError, DeadlineExceeded, FailedPrecondition, Unknown
from corten.tracing import span
from corten.values import dataclass

from .context import Environment, LiveContext
from .graph import Choices, Node, plan
from .hooks import HookRelay
from .model import SkipPlugin, State
from .record import Found, PluginRecord, describe
from .startup import Startup
from .threads import Abandonable
from .turns import Turns

log = logging.getLogger(__name__)

HEAD_START = 1.0
"""Seconds that the others wait for the plugins that are to be up first."""


@dataclass(frozen=True, slots=True)
class Deadlines:
    """Seconds that each step of one plugin may take."""

    init: float = 10.0
    start: float = 10.0
    close: float = 10.0


class Lifecycle:
    """All plugins of one daemon; made from what the loader found, used on the event loop."""

    def __init__(
        self,
        found: Sequence[Found],
        *,
        choices: Choices | None = None,
        disabled: Set[str] = frozenset(),
        required: Set[str] = frozenset(),
        failed: Mapping[str, BaseException] | None = None,
        deadlines: Deadlines | None = None,
    ) -> None:
        """`failed` holds plugins that must not start, with the reason: those whose configuration is wrong."""
        builtin = frozenset(each.uri for each in found if each.builtin)
        self.plan = plan([each.registration for each in found], choices, disabled=disabled, builtin=builtin)
        self.plugins: dict[str, PluginRecord] = {each.uri: _record(each) for each in found}
        self._required = required
        self._deadlines = deadlines or Deadlines()
        self._turns = Turns({uri: node.awaits for uri, node in self.plan.nodes.items()})
        self._startup = Startup(self.plugins, self._turns.want)
        self._condemn(disabled, {each.uri: each.error for each in found if each.error} | dict(failed or {}))

    def __repr__(self) -> str:
        counts = {state: sum(r.state is state for r in self.plugins.values()) for state in State}
        return f"Lifecycle({', '.join(f'{count} {state}' for state, count in counts.items() if count)})"

    async def start(self, environment: Environment) -> None:
        """Bring up every plugin that can be; returns when all are settled.

        Raises FailedPrecondition, naming them, if a required plugin is not up; the others run then until `stop`.
        """
        try:
            async with asyncio.TaskGroup() as group:
                ahead = self.plan.ahead()
                await self._head_start([self._begin(uri, environment, group) for uri in ahead])
                for uri in [each for each in self.plan.order if each not in ahead]:
                    _ = self._begin(uri, environment, group)
            self._check_required()
        except BaseException as error:
            self._startup.end(describe(error) if isinstance(error, CortenError) else "it was told to stop")
            raise
        self._startup.end()

    def _begin(self, uri: str, environment: Environment, group: asyncio.TaskGroup) -> asyncio.Task[None]:
        return group.create_task(self._bring_up(uri, environment), name=f"start {uri}")

    async def _head_start(self, ahead: Collection[asyncio.Task[None]]) -> None:
        """Imports take turns: what is to be up first would wait for those of all others."""
        if ahead:
            await asyncio.wait(ahead, timeout=HEAD_START)

    async def stop(self, hooks: HookRelay | None = None) -> None:
        """Close every plugin that is up, in the reverse of the order of the plan; a failure is logged."""
        for uri in reversed(self.plan.order):
            record = self.plugins[uri]
            if record.state is State.OK and record.instance is not None:
                if hooks is not None:
                    hooks.unregister(uri)
                await self._close(uri, record.instance)

    def _condemn(self, disabled: Set[str], failed: Mapping[str, BaseException]) -> None:
        for uri, error in failed.items():
            if uri in self.plugins:
                self.plugins[uri].fail(error)
                _log_failure(self.plugins[uri])
        for uri, cycle in self.plan.cycles.items():
            self.plugins[uri].fail(FailedPrecondition(f"plugin {uri}: its requirements go in a circle: {cycle}"))
            _log_failure(self.plugins[uri])
        for uri in disabled & self.plugins.keys():
            self.plugins[uri].fail(FailedPrecondition(f"plugin {uri}: is disabled by disabled_plugins"), State.DISABLED)

    async def _bring_up(self, uri: str, environment: Environment) -> None:
        record, node = self.plugins[uri], self.plan.nodes[uri]
        try:
            if record.state is State.PENDING:
                for each in node.awaits:
                    await self._startup.after(each)
                await self._attempt(record, node, environment)
        finally:
            self._startup.settle(uri)

    async def _attempt(self, record: PluginRecord, node: Node, environment: Environment) -> None:
        record.requires_resolved = node.uses
        if unmet := self._unmet(node):
            return self._leave_out(record, node, FailedPrecondition(f"plugin {record.uri}: {unmet}"))
        began = time.monotonic()
        try:
            with span("plugin start", plugin=record.uri):
                record.instance = await self._start(record, node, environment)
            record.state = State.OK
            record.seconds = time.monotonic() - began
            log.debug("plugin %s: started in %.3f s", record.uri, record.seconds)
        except SkipPlugin as skip:
            record.fail(FailedPrecondition(f"plugin {record.uri}: skipped: {skip}"), State.SKIPPED)
            log.info("plugin %s: skipped: %s", record.uri, skip)
        except Exception as error:
            record.fail(error)
            _log_failure(record)

    async def _start(self, record: PluginRecord, node: Node, environment: Environment) -> object:
        """The instance, running. Raises SkipPlugin, or a CortenError that names the plugin."""
        uri = record.uri
        chosen = {self.plugins[each].registration.type.uri: each for each in node.must}
        context = LiveContext(record, self.plugins, environment, chosen, self._startup)
        init = Abandonable(f"plugin {uri}: init", lambda: record.registration.init(context), _close_late)
        async with self._turns.turn(uri):
            with _Blamed(f"plugin {uri}: init"):
                instance = await init.wait_async(self._deadlines.init)
        try:
            with _Blamed(f"plugin {uri}"):
                environment.hooks.register(uri, instance)
            if start := _starter(instance):
                await self._under_deadline(f"plugin {uri}: start", start, self._deadlines.start)
        except BaseException:  # a start that was cancelled among them
            environment.hooks.unregister(uri)
            await self._close(uri, instance)
            raise
        return instance

    def _leave_out(self, record: PluginRecord, node: Node, reason: FailedPrecondition) -> None:
        """What only lacks plugins that somebody disabled is left out with them: that is no error."""
        wanting = {self.plugins[uri].state for uri in node.must} - {State.OK}
        if node.unmet or wanting != {State.DISABLED}:
            record.fail(reason)
            return _log_failure(record)
        record.fail(reason, State.SKIPPED)
        return log.info("%s", reason.message)

    def _unmet(self, node: Node) -> str:
        """Why it cannot start; empty if it can."""
        reasons = [node.unmet] if node.unmet else []
        for uri in node.must:
            needed = self.plugins[uri]
            if needed.state is not State.OK:
                reasons.append(f"needs {uri}, which is not up: {needed.reason.removeprefix(f'plugin {uri}: ')}")
        return "; ".join(reasons)

    def _check_required(self) -> None:
        wanting = [uri for uri in sorted(self._required) if uri not in self.plugins or self._not_ok(uri)]
        if wanting:
            raise FailedPrecondition("; ".join(f"required {self._why_not(uri)}" for uri in wanting))

    def _not_ok(self, uri: str) -> bool:
        return self.plugins[uri].state is not State.OK

    def _why_not(self, uri: str) -> str:
        if uri not in self.plugins:
            return f"plugin {uri}: no installed package has it"
        reason = self.plugins[uri].reason
        return reason if reason.startswith(f"plugin {uri}") else f"plugin {uri}: {reason}"

    async def _close(self, uri: str, instance: object) -> None:
        close = getattr(instance, "close", None)
        if close is None:
            return
        try:
            if inspect.iscoroutinefunction(close):
                await self._under_deadline(f"plugin {uri}: close", close, self._deadlines.close)
            else:
                await Abandonable(f"plugin {uri}: close", close).wait_async(self._deadlines.close)
        except (Exception, SystemExit, KeyboardInterrupt) as error:
            log.warning("plugin %s: did not close cleanly: %s", uri, describe(error))

    async def _under_deadline(self, what: str, call: Callable[[], object], deadline: float) -> None:
        """Run a plugin's coroutine function, or leave it behind cancelled when its time is up."""
        task = asyncio.ensure_future(_caught(call))
        done, _ = await asyncio.wait({task}, timeout=deadline)
        if not done:
            task.cancel()
            raise DeadlineExceeded(f"{what}: did not end in {deadline:g} seconds")
        with _Blamed(what):
            if error := task.result():
                raise error


class _Blamed:
    """Turns what is raised inside into a CortenError whose message begins with the plugin's name."""

    def __init__(self, what: str) -> None:
        self._what = what

    def __enter__(self) -> None:
        return

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        if error is None or isinstance(error, SkipPlugin | asyncio.CancelledError):
            return
        text = describe(error)
        named = text if text.startswith(self._what) else f"{self._what}: {text}"
        raise (type(error) if isinstance(error, CortenError) else Unknown)(named) from error


async def _caught(call: Callable[[], object]) -> BaseException | None:
    """What the call raised. SystemExit must not reach the task, which would end the event loop with it."""
    try:
        result = call()
        if inspect.isawaitable(result):
            await result
    except asyncio.CancelledError:
        raise
    except BaseException as error:
        return error
    return None


def _starter(instance: object) -> Callable[[], object] | None:
    """The instance's `start`, if it is the life cycle's; some contracts have one of their own, with arguments."""
    start = getattr(instance, "start", None)
    if not inspect.iscoroutinefunction(start):
        return None
    needed = [each for each in inspect.signature(start).parameters.values() if each.default is each.empty]
    return None if any(each.kind not in (each.VAR_POSITIONAL, each.VAR_KEYWORD) for each in needed) else start


def _close_late(instance: object) -> None:
    """An init that came back after it was given up: let go of what it holds."""
    close = getattr(instance, "close", None)
    if callable(close) and not inspect.iscoroutinefunction(close):
        close()


def _record(found: Found) -> PluginRecord:
    registration = found.registration
    return PluginRecord(registration, found.distribution, found.builtin, exports=dict(registration.exports))


def _log_failure(record: PluginRecord) -> None:
    """The sentence; and for an error that is not one of ours, the part of the traceback that is the plugin's."""
    cause = record.error.__cause__ if record.error else None
    if cause is None or (isinstance(cause, CortenError) and not log.isEnabledFor(logging.DEBUG)):
        log.warning("%s", record.reason)
    else:
        log.warning("%s", record.reason, exc_info=cause.with_traceback(_beyond_kernel(cause.__traceback__)))


def _beyond_kernel(traceback: TracebackType | None) -> TracebackType | None:
    """A traceback without the frames of this package, through which every plugin is called."""
    kernel = str(__package__)
    while traceback and traceback.tb_next and traceback.tb_frame.f_globals.get("__package__") == kernel:
        traceback = traceback.tb_next
    return traceback
