"""A network's plugins as one: ADD in order; DEL in reverse; CHECK, STATUS, GC."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import field, replace
from typing import Any

from corten.errors import CortenError, FailedPrecondition, Unknown
from corten.values import dataclass

from . import results, versions
from .configuration import NetworkList, Plugin

# ruff: noqa: E402  (what is imported below exists on Linux only)
assert sys.platform != "win32"

from .invocation import Invocation, PluginError, Plugins

STATUS_DEADLINE = 10.0
"""Seconds that a plugin may take to say whether it is ready: the kubelet asks again and again."""

GC_DEADLINE = 10.0
"""Seconds that a plugin may take to collect: no pod is attached meanwhile."""


@dataclass(frozen=True, slots=True)
class Attaching:
    """A container's side of an attachment."""

    container: str
    netns: str
    interface: str
    arguments: tuple[tuple[str, str], ...] = ()
    capabilities: Mapping[str, Any] = field(default_factory=dict)
    """Values for `runtimeConfig`, by capability; a plugin gets those that its configuration names."""
    lock: int = -1
    """A descriptor that plugins keep open while they run."""

    def invocation(self, command: str) -> Invocation:
        return Invocation(command, self.container, self.netns, self.interface, self.arguments, self.lock)


async def add(plugins: Plugins, network: NetworkList, attaching: Attaching) -> results.Result:
    """Attach; what the last plugin answered. Raises the first failure: what was done until then is for `delete`."""
    result: results.Result | None = None
    for plugin in network.plugins:
        with _named(plugin, "add"):
            answer = await plugins.run(
                plugin.type, attaching.invocation("ADD"), _input(network, plugin, attaching, result)
            )
            result = results.read(answer, network.version, plugin.type)
    assert result is not None
    return result


async def delete(plugins: Plugins, network: NetworkList, attaching: Attaching, result: results.Result | None) -> None:
    """Detach, as far as there is anything; may be run again. Raises the first failure, and leaves the rest."""
    known = result if versions.at_least(network.version, "0.4.0") else None
    for plugin in reversed(network.plugins):
        try:
            with _named(plugin, "delete"):
                await plugins.run(plugin.type, attaching.invocation("DEL"), _input(network, plugin, attaching, known))
        except PluginError as error:
            if not _is_gone(error, attaching):
                raise


async def check(plugins: Plugins, network: NetworkList, attaching: Attaching, result: results.Result | None) -> None:
    """Whether all is as ADD made it. Raises FailedPrecondition with what a plugin found; before 0.4 none can."""
    if network.disable_check or not versions.at_least(network.version, "0.4.0") or result is None:
        return
    for plugin in network.plugins:
        try:
            await plugins.run(plugin.type, attaching.invocation("CHECK"), _input(network, plugin, attaching, result))
        except PluginError as error:
            raise FailedPrecondition(f"network {network.name}: {error.message}") from error


async def status(plugins: Plugins, network: NetworkList) -> None:
    """Whether the plugins can attach pods now; raises what one answered. Networks before 1.1 cannot tell."""
    if versions.at_least(network.version, "1.1.0"):
        for plugin in network.plugins:
            await plugins.run(plugin.type, Invocation("STATUS"), _input(network, plugin), STATUS_DEADLINE)


async def collect(plugins: Plugins, network: NetworkList, alive: Sequence[tuple[str, str]]) -> None:
    """GC: tell the plugins all attachments (container, interface) that there are; they drop what they have besides.

    Every plugin is told, then the first failure is raised. Networks before 1.1 know no GC.
    """
    if network.disable_gc or not versions.at_least(network.version, "1.1.0"):
        return
    attachments = [{"containerID": container, "ifname": interface} for container, interface in alive]
    told = {"cni.dev/valid-attachments": attachments, "cni.dev/attachments": attachments}
    failures: list[CortenError] = []
    for plugin in network.plugins:
        try:
            await plugins.run(plugin.type, Invocation("GC"), {**_input(network, plugin), **told}, GC_DEADLINE)
        except CortenError as error:
            failures.append(error)
    if failures:
        raise failures[0]


async def supported(plugins: Plugins, type: str) -> list[str]:
    """The versions of the specification that a plugin knows, by VERSION."""
    dummy = Invocation("VERSION", netns="dummy", interface="dummy")
    answer = await plugins.run(type, dummy, {"cniVersion": versions.CURRENT})
    told = answer.get("supportedVersions") if isinstance(answer, dict) else None
    if not isinstance(told, list):
        raise Unknown(f"CNI plugin {type}: its answer to VERSION names no supportedVersions")
    return [str(version) for version in told]


def _input(
    network: NetworkList, plugin: Plugin, attaching: Attaching | None = None, result: results.Result | None = None
) -> dict[str, Any]:
    """What a plugin reads: its own configuration with the network's name and version, and what is told besides."""
    document = {**plugin.document, "name": network.name, "cniVersion": network.version}
    document |= {"prevResult": results.convert(result, network.version)} if result is not None else {}
    given = attaching.capabilities if attaching else {}
    wanted = {name: given[name] for name in plugin.capabilities if name in given}
    return {**document, "runtimeConfig": wanted} if wanted else document


class _named:  # noqa: N801  (a context manager, as a function would be)
    """Errors raised inside tell which plugin of the chain it was, with the words that containerd's users look for."""

    def __init__(self, plugin: Plugin, action: str) -> None:
        self._what = f'plugin type="{plugin.type}" failed ({action})'

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, CortenError):
            error.args = (f"{self._what}: {error.message}",)


def _is_gone(error: PluginError, attaching: Attaching) -> bool:
    """Whether a plugin complains that what it should delete is not there, which is no failure (section DEL).

    It would complain for ever: a firewall that was loaded anew has none of its chains, for example.
    """
    known = ("not found", "does not exist", *(("no such file or directory",) if not attaching.netns else ()))
    return any(words in error.text for words in known)


def without_netns(attaching: Attaching) -> Attaching:
    """For DEL when the network namespace is gone: plugins then do what they can, above all give addresses back."""
    return replace(attaching, netns="")
