"""`corten snapshots …`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import click

from ..output import format_option, printable, show, show_fields
from ..session import Session
from ..words import age, shown_size
from .common import snapshotter_option
from .several import for_each

if TYPE_CHECKING:
    from corten.client import Client
    from corten.contracts.mounts import Mount
    from corten.contracts.snapshots import SnapshotInfo, Usage


@click.group()
def snapshots() -> None:
    """Look at and remove snapshots."""


@snapshots.command()
@snapshotter_option
@format_option
@click.argument("filters", nargs=-1)
@click.pass_obj
def ls(session: Session, snapshotter: str, filters: tuple[str, ...], format: str) -> None:
    """List snapshots; FILTERS are containerd's, e.g. kind==active."""
    found = session.run(lambda client: _walk(client, snapshotter, filters))
    rows = [[info.name, info.parent or "-", info.kind, age(info.created_at)] for info in found]
    show(("SNAPSHOT", "PARENT", "KIND", "CREATED"), rows, [_record(info) for info in found], format)


@snapshots.command()
@snapshotter_option
@click.pass_obj
def tree(session: Session, snapshotter: str) -> None:
    """Draw which snapshot stands on which."""
    for line in drawn(session.run(lambda client: _walk(client, snapshotter, ()))):
        click.echo(line)


@snapshots.command()
@snapshotter_option
@format_option
@click.argument("name")
@click.pass_obj
def info(session: Session, name: str, snapshotter: str, format: str) -> None:
    """Show one snapshot with the space it takes."""

    async def work(client: Client) -> tuple[SnapshotInfo, Usage]:
        own = client.snapshots(snapshotter)
        return await own.stat(name), await own.usage(name)

    found, usage = session.run(work)
    fields = {
        "Name": found.name,
        "Parent": found.parent or "-",
        "Kind": found.kind,
        "Created": age(found.created_at),
        "Size": f"{shown_size(usage.size)} in {usage.inodes} inodes",
        **{f"Label {key}": value for key, value in sorted(found.labels.items())},
    }
    show_fields(fields, {**_record(found), "size": usage.size, "inodes": usage.inodes}, format)


@snapshots.command()
@snapshotter_option
@format_option
@click.argument("key")
@click.argument("target", default="TARGET")
@click.pass_obj
def mounts(session: Session, key: str, target: str, snapshotter: str, format: str) -> None:
    """Print the mount(8) commands that make the active snapshot KEY visible at TARGET."""

    async def work(client: Client) -> Sequence[Mount]:
        return await client.snapshots(snapshotter).mounts(key)

    found = session.run(work)
    if format == "json":
        return show((), (), [{"type": m.type, "source": m.source, "options": list(m.options)} for m in found], format)
    for mount in found:
        click.echo(f"mount -t {mount.type} {mount.source} {target} -o {','.join(mount.options)}")
    return None


@snapshots.command()
@snapshotter_option
@click.argument("names", nargs=-1, required=True)
@click.pass_obj
def rm(session: Session, names: tuple[str, ...], snapshotter: str) -> int:
    """Remove snapshots that nothing stands on."""
    return for_each(session, names, lambda client, name: client.snapshots(snapshotter).remove(name))


def drawn(found: Sequence[SnapshotInfo]) -> list[str]:
    """A line for each snapshot, its children indented below it."""
    children: dict[str, list[str]] = {}
    names = {info.name for info in found}
    for info in found:
        children.setdefault(info.parent if info.parent in names else "", []).append(info.name)

    def lines(parent: str, indent: str) -> Iterator[str]:
        for name in children.get(parent, ()):
            yield f"{indent}{printable(name)}"
            yield from lines(name, f"{indent}  ")

    return list(lines("", ""))


async def _walk(client: Client, snapshotter: str, filters: Sequence[str]) -> list[SnapshotInfo]:
    return [info async for info in client.snapshots(snapshotter).walk(filters)]


def _record(info: SnapshotInfo) -> dict[str, object]:
    return {
        "name": info.name,
        "parent": info.parent,
        "kind": str(info.kind),
        "created_at": info.created_at,
        "updated_at": info.updated_at,
        "labels": dict(info.labels),
    }
