"""`corten plugins …`."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from corten.errors import CortenError, NotFound, Unimplemented

from ..output import format_option, show, show_fields, show_json
from ..session import Session

if TYPE_CHECKING:
    from corten.client import Client
    from corten.client.introspection import PluginInfo
    from corten.plugin.drawing import Drawn

_REASON_WIDTH = 70


@click.group()
def plugins() -> None:
    """Show the daemon's plugins: their state, order and reasons."""


@plugins.command()
@format_option
@click.argument("filters", nargs=-1)
@click.pass_obj
def ls(session: Session, filters: tuple[str, ...], format: str) -> None:
    """List plugins; FILTERS are containerd's, e.g. state==error. `explain` says all about one."""

    async def work(client: Client) -> list[PluginInfo]:
        return await client.introspection.plugins(filters)

    found = session.run(work)
    rows = [[p.type, p.id, p.state, ",".join(p.platforms) or "-", _shortened(_reason(p)) or "-"] for p in found]
    show(("TYPE", "ID", "STATE", "PLATFORMS", "REASON"), rows, [_record(plugin) for plugin in found], format)


@plugins.command()
@click.option(
    "--format", type=click.Choice(["text", "svg", "dot", "mermaid", "json"]), default="text", show_default=True
)
@click.pass_obj
def graph(session: Session, format: str) -> None:
    """Draw which plugin requires which, on standard output."""
    from corten.plugin.drawing import FORMATS, Drawn
    from corten.plugin.model import State

    found = session.run(_detailed)
    drawn = [Drawn(plugin.uri, State(plugin.state), tuple(_needs(plugin, found))) for plugin in found]
    if format == "json":
        show_json([{"uri": each.uri, "state": each.state, "requires": list(each.uses)} for each in drawn])
    elif format == "text":
        for line in in_words(drawn):
            click.echo(line)
    else:
        click.echo(FORMATS[format](drawn), nl=False)


@plugins.command()
@format_option
@click.argument("uri")
@click.pass_obj
def explain(session: Session, uri: str, format: str) -> None:
    """Tell all about one plugin, named in full (io.containerd.snapshotter.v1.overlayfs) or by its id."""
    plugin = session.run(lambda client: _find(client, uri))
    detail = plugin.detail
    needs = [
        f"{each['type']} ({each['cardinality']}): {', '.join(each['chosen']) or 'none'}" for each in _wants(plugin)
    ]
    fields = {
        "Plugin": plugin.uri,
        "What": detail.get("summary") or "-",
        "State": plugin.state,
        **({"Reason": _reason(plugin)} if _reason(plugin) else {}),
        "From": detail.get("distribution") or "-",
        **{f"Needs {n}": each for n, each in enumerate(needs, 1)},
        "Serves": ", ".join(detail.get("serves", ())) or "-",
        "Capabilities": ", ".join(plugin.capabilities) or "-",
        **{f"Export {key}": value for key, value in sorted(plugin.exports.items())},
    }
    show_fields(fields, _record(plugin), format)
    if format != "json" and detail.get("traceback"):
        click.echo(f"\n{detail['traceback'].rstrip()}")


def in_words(plugins: Sequence[Drawn]) -> list[str]:
    """A line for each plugin with its state, those that need nothing first, and what it needs indented below."""
    from corten.plugin.drawing import columns

    lines = []
    for column in columns(plugins):
        for plugin in column:
            lines += [f"{plugin.uri} ({plugin.state})", *(f"  needs {uri}" for uri in plugin.uses)]
    return lines


async def _detailed(client: Client) -> list[PluginInfo]:
    """Every plugin with its detail; those of a daemon that has none to give as they are."""
    found = await client.introspection.plugins()

    async def detail(plugin: PluginInfo) -> PluginInfo:
        try:
            return await client.introspection.plugin(plugin.type, plugin.id)
        except CortenError:
            return plugin

    return await asyncio.gather(*map(detail, found))


async def _find(client: Client, name: str) -> PluginInfo:
    found = await client.introspection.plugins()
    matching = [plugin for plugin in found if name in (plugin.uri, plugin.id)]
    if not matching:
        raise NotFound(f"plugin {name!r}: there is none of that name (`corten plugins ls` lists them)")
    if len(matching) > 1:
        raise NotFound(f"plugin {name!r}: several have that id, name one: {', '.join(p.uri for p in matching)}")
    try:
        return await client.introspection.plugin(matching[0].type, matching[0].id)
    except Unimplemented:
        return matching[0]


def _needs(plugin: PluginInfo, others: list[PluginInfo]) -> list[str]:
    if "requires" in plugin.detail:
        return sorted({uri for each in _wants(plugin) for uri in each["chosen"]})
    return [other.uri for other in others if other.type in plugin.requires and other.uri != plugin.uri]


def _wants(plugin: PluginInfo) -> list[dict[str, list[str]]]:
    return list(plugin.detail.get("requires", ()))


def _reason(plugin: PluginInfo) -> str:
    """Without the words that only repeat URI and state."""
    text = plugin.error.message if plugin.error else ""
    for known in ("skip plugin: ", f"plugin {plugin.uri}: ", "skipped: "):
        text = text.removeprefix(known)
    return text


def _shortened(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _REASON_WIDTH else f"{line[: _REASON_WIDTH - 1]}…"


def _record(plugin: PluginInfo) -> dict[str, object]:
    return {
        "uri": plugin.uri,
        "type": plugin.type,
        "id": plugin.id,
        "state": plugin.state,
        "reason": _reason(plugin),
        "requires": list(plugin.requires),
        "platforms": list(plugin.platforms),
        "capabilities": list(plugin.capabilities),
        "exports": dict(plugin.exports),
        **plugin.detail,
    }
