"""Hooks: points in the daemon's work, across plugin types, at which any plugin instance may look or have a say.

An instance takes part by marking methods with `hookimpl`; it takes only the arguments it needs.

    class AddsAProxy:
        @hookimpl
        def oci_spec(self, spec):
            spec["process"].setdefault("env", []).append("http_proxy=http://10.0.0.1:3128")

Implementations are plain functions. They run in threads, under a deadline, off the event loop. A hook that *edits*
fails closed: the call it belongs to fails with an error that names the plugin. A hook that *observes* fails open: the
failure is logged with the plugin's name and the work goes on. `docs/hooks.md` has a section for each hook.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import pluggy

from corten.errors import CortenError, FailedPrecondition, InvalidArgument

if TYPE_CHECKING:
    from corten.contracts.events import Envelope
    from corten.contracts.objects import Container, Image
    from corten.pools import Pools

log = logging.getLogger(__name__)

PROJECT = "corten"
hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)

DEADLINE = 10.0
"""Seconds that one implementation of one hook may take."""


class Hooks:
    """Every hook there is: its signature, and one sentence."""

    @hookspec
    def oci_spec(self, namespace: str, container: Container, spec: dict[str, Any]) -> dict[str, Any] | None:
        """Edit the OCI runtime spec that a task is about to be created from, in place or by returning another."""

    @hookspec
    def task_event(self, envelope: Envelope) -> None:
        """See an event of a task after it was published."""

    @hookspec
    def plugin_ready(self, uri: str) -> None:
        """Learn that a plugin has started."""

    @hookspec
    def config_loaded(self, config: Mapping[str, Any]) -> None:
        """See the merged configuration, before defaults, once the plugins that have this hook have started."""

    @hookspec
    def image_pulled(self, namespace: str, image: Image) -> None:
        """Learn that an image record was made or changed, which clients do once its content is there."""


EDITING = frozenset({"oci_spec"})
"""The hooks that fail closed; all others observe."""


class HookRelay:
    """Calls the implementations of hooks; its methods are used on the event loop, `register` from anywhere."""

    def __init__(self, pools: Pools, deadline: float = DEADLINE) -> None:
        self._pools = pools
        self._deadline = deadline
        self._plugins = pluggy.PluginManager(PROJECT)
        self._plugins.add_hookspecs(Hooks)

    def __repr__(self) -> str:
        return f"HookRelay({', '.join(sorted(name for name, _ in self._plugins.list_name_plugin()))})"

    def register(self, uri: str, instance: object) -> bool:
        """Take in the hook implementations of a plugin instance; False if it has none.

        Raises InvalidArgument for an implementation of a hook that does not exist, or of arguments it does not have.
        """
        if not any(self._marked(instance, name) for name in dir(type(instance))):
            return False
        try:
            self._plugins.register(instance, name=uri)
            self._plugins.check_pending()
            self._refuse_wrappers(uri, instance)
        except (pluggy.PluginValidationError, ValueError) as error:
            if self._plugins.has_plugin(uri):
                self._plugins.unregister(name=uri)
            raise InvalidArgument(f"plugin {uri}: cannot register its hooks: {error}") from error
        return True

    def unregister(self, uri: str) -> None:
        """Forget the implementations of a plugin; harmless if it has none."""
        if self._plugins.has_plugin(uri):
            self._plugins.unregister(name=uri)

    def has(self, hook: str) -> bool:
        """Whether anybody implements that hook."""
        return bool(self._implementations(hook))

    async def oci_spec(self, namespace: str, container: Container, spec: dict[str, Any]) -> dict[str, Any]:
        """The spec as all implementations leave it, each given what the one before it returned.

        Raises the CortenError of the implementation that refused, its plugin named, or FailedPrecondition for any
        other failure and for one that did not end in time.
        """
        for implementation in self._implementations("oci_spec"):
            edited = await self._edit(implementation, {"namespace": namespace, "container": container, "spec": spec})
            if edited is not None and not isinstance(edited, dict):
                raise FailedPrecondition(
                    f"plugin {implementation.plugin_name}: hook oci_spec returned {type(edited).__name__}, not a dict"
                )
            spec = spec if edited is None else edited
        return spec

    async def task_event(self, envelope: Envelope) -> None:
        """Show an event to all observers; raises nothing."""
        await self._observe("task_event", {"envelope": envelope})

    async def plugin_ready(self, uri: str) -> None:
        """Tell all observers of a started plugin; raises nothing."""
        await self._observe("plugin_ready", {"uri": uri})

    async def config_loaded(self, config: Mapping[str, Any]) -> None:
        """Show the configuration to all observers; raises nothing."""
        await self._observe("config_loaded", {"config": config})

    async def image_pulled(self, namespace: str, image: Image) -> None:
        """Tell all observers of an image; raises nothing."""
        await self._observe("image_pulled", {"namespace": namespace, "image": image})

    def _implementations(self, hook: str) -> list[pluggy.HookImpl]:
        """In calling order: last registered first, `tryfirst` before and `trylast` after the rest."""
        return list(reversed(getattr(self._plugins.hook, hook).get_hookimpls()))

    async def _call(self, implementation: pluggy.HookImpl, arguments: Mapping[str, object]) -> object:
        """One implementation in a thread of its plugin's own pool, so that one that hangs holds up no other."""
        chosen = [arguments[name] for name in implementation.argnames]
        work = self._pools.run(f"hooks {implementation.plugin_name}", implementation.function, *chosen)
        return await asyncio.wait_for(work, self._deadline)

    async def _edit(self, implementation: pluggy.HookImpl, arguments: Mapping[str, object]) -> object:
        hook, plugin = implementation.function.__name__, implementation.plugin_name
        try:
            return await self._call(implementation, arguments)
        except TimeoutError as error:
            raise FailedPrecondition(
                f"plugin {plugin}: hook {hook} did not end in {self._deadline:g} seconds"
            ) from error
        except CortenError as error:
            raise type(error)(f"plugin {plugin}: hook {hook}: {error.message}") from error
        except Exception as error:
            raise FailedPrecondition(f"plugin {plugin}: hook {hook}: {type(error).__name__}: {error}") from error

    async def _observe(self, hook: str, arguments: Mapping[str, object]) -> None:
        if implementations := self._implementations(hook):
            await asyncio.gather(*(self._watch(each, arguments) for each in implementations))

    async def _watch(self, implementation: pluggy.HookImpl, arguments: Mapping[str, object]) -> None:
        hook, plugin = implementation.function.__name__, implementation.plugin_name
        try:
            await self._call(implementation, arguments)
        except TimeoutError:
            log.warning(
                "plugin %s: hook %s did not end in %g seconds; going on without it", plugin, hook, self._deadline
            )
        except Exception:
            log.warning("plugin %s: hook %s failed; going on without it", plugin, hook, exc_info=True)

    def _marked(self, instance: object, name: str) -> bool:
        """Looks at the class first, so that no property of the instance is run."""
        method = getattr(type(instance), name, None)
        return callable(method) and hasattr(method, f"{PROJECT}_impl")

    def _refuse_wrappers(self, uri: str, instance: object) -> None:
        for caller in self._plugins.get_hookcallers(instance) or ():
            for each in caller.get_hookimpls():
                if each.plugin is instance and (each.wrapper or each.hookwrapper):
                    raise ValueError(f"{caller.name} is a wrapper; only plain implementations are called")
