"""`corten image du` and `prune`: what space images take, and freeing that of those that nobody uses."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from corten.errors import NotFound

from ..output import format_option, show, show_json
from ..reporting import say
from ..session import Session
from ..words import shown_size
from .common import on_terminal

if TYPE_CHECKING:
    from corten.client import Client
    from corten.client.image_space import Spaces
    from corten.contracts.objects import Image

COLUMNS = ("IMAGE", "CONTENT", "UNIQUE", "SNAPSHOTS", "UNIQUE")
_PINNED = "io.cri-containerd.pinned"


@click.command()
@format_option
@click.pass_obj
def du(session: Session, format: str) -> None:
    """Show the space that images take: blobs and snapshots, and how much of it no other image has."""

    async def work(client: Client) -> Spaces:
        from corten.client.image_space import space

        return await space(client)

    found = session.run(work)
    if format == "json":
        records = [
            {
                "name": each.name,
                "content": each.content,
                "unique_content": each.unique_content,
                "snapshots": each.snapshots,
                "unique_snapshots": each.unique_snapshots,
            }
            for each in found.images
        ]
        return show_json({"images": records, "content": found.content, "snapshots": found.snapshots})
    rows = [
        [each.name, *map(shown_size, (each.content, each.unique_content, each.snapshots, each.unique_snapshots))]
        for each in found.images
    ]
    total = ["(all, each part once)", shown_size(found.content), "", shown_size(found.snapshots), ""]
    return show(COLUMNS, [*rows, total], [], format)


@click.command()
@click.option("-f", "--force", is_flag=True, help="Do not ask.")
@click.option("--dry-run", is_flag=True, help="Only show what would be removed.")
@click.argument("filters", nargs=-1)
@click.pass_obj
def prune(session: Session, filters: tuple[str, ...], force: bool, dry_run: bool) -> None:
    """Remove the images that no container is made of; FILTERS are containerd's, e.g. name~=test. Pinned ones stay."""

    async def work(client: Client) -> None:
        unused = await _unused(client, filters)
        for image in unused if dry_run else ():
            click.echo(image.name)
        if dry_run or not unused:
            return
        if not force and not on_terminal():
            raise click.UsageError("nobody is there to ask (use --force, or --dry-run to see what would go)")
        if not force:
            click.echo("\n".join(image.name for image in unused), err=True)
            click.confirm(f"Remove these {len(unused)} images?", abort=True, err=True)
        before = await _used(client)
        for image in unused:
            try:
                await client.images.delete(image.name, sync=image is unused[-1])
            except NotFound:
                continue
            click.echo(image.name)
        say(f"freed {shown_size(max(0, before - await _used(client)))} of content")

    session.run(work)


async def _unused(client: Client, filters: tuple[str, ...]) -> list[Image]:
    """A container keeps all names of its image's target."""
    images = await client.images.list(filters)
    names = {container.image for container in await client.containers.list()}
    kept = {image.target.digest for image in await client.images.list() if image.name in names}
    return [each for each in images if each.target.digest not in kept and each.labels.get(_PINNED) != "pinned"]


async def _used(client: Client) -> int:
    return sum([info.size async for info in client.content.walk()])
