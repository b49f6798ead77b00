"""`corten images` and `corten image …`."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

import click

from corten.errors import AlreadyExists, CortenError

from ..output import format_option, show
from ..session import Session
from ..words import age, shown_size
from .image_convert import convert
from .image_inspect import inspect, tree_, verify
from .image_mount import mount, unmount
from .image_referrers import referrers
from .image_space import du, prune
from .importing import import_
from .pull import pull
from .pushing import export, push
from .several import for_each

if TYPE_CHECKING:
    from corten.client import Client
    from corten.client.image import Resolved
    from corten.contracts.objects import Image

COLUMNS = ("IMAGE", "DIGEST", "SIZE", "PLATFORM", "CREATED")


@click.group()
def image() -> None:
    """Everything about images: fetch, send, look at, check, convert, mount and remove them."""


@click.command()
@click.option("-q", "--quiet", is_flag=True, help="Only the names.")
@format_option
@click.argument("filters", nargs=-1)
@click.pass_obj
def ls(session: Session, filters: tuple[str, ...], quiet: bool, format: str) -> None:
    """List images; FILTERS are containerd's, e.g. name~=busybox. SIZE is what was fetched for this platform."""

    async def work(client: Client) -> list[tuple[Image, Resolved | None]]:
        images = await client.images.list(filters)
        details = await asyncio.gather(*(_details(client, found) for found in images))
        return list(zip(images, details, strict=True))

    found = session.run(work)
    if quiet:
        for each, _ in found:
            click.echo(each.name)
        return
    show(COLUMNS, [_row(*pair) for pair in found], [_record(*pair) for pair in found], format)


@click.command()
@click.option("--sync", is_flag=True, help="Return when the space is freed.")
@click.argument("images", nargs=-1, required=True)
@click.pass_obj
def rm(session: Session, images: tuple[str, ...], sync: bool) -> int:
    """Remove IMAGES; what only they used is freed."""

    async def step(client: Client, name: str) -> None:
        from corten.client.image import find

        await client.images.delete((await find(client, name)).name, sync=sync)

    return for_each(session, images, step)


@click.command()
@click.option("-f", "--force", is_flag=True, help="Let a name that exists point to the image now.")
@click.argument("image")
@click.argument("name")
@click.pass_obj
def tag(session: Session, image: str, name: str, force: bool) -> None:
    """Give IMAGE the further NAME."""

    async def work(client: Client) -> None:
        from corten import references
        from corten.client.image import find

        source, full = await find(client, image), references.normalised(name)
        tagged = replace(source, name=full)
        try:
            await (client.images.put(tagged) if force else client.images.create(tagged))
        except AlreadyExists as error:
            raise AlreadyExists(f"image {full!r}: the name is taken (use --force to let it point here)") from error
        click.echo(full)

    session.run(work)


async def _details(client: Client, found: Image) -> Resolved | None:
    """None if it is not for this platform, or not all here."""
    from corten.client.image import resolve

    try:
        return await resolve(client, found)
    except CortenError:
        return None


def _row(found: Image, details: Resolved | None) -> list[object]:
    size = shown_size(details.size) if details else "-"
    platform = str(details.config.platform) if details else "-"
    return [found.name, found.target.digest[:19], size, platform, age(found.created_at)]


def _record(found: Image, details: Resolved | None) -> dict[str, object]:
    return {
        "name": found.name,
        "digest": found.target.digest,
        "media_type": found.target.media_type,
        "labels": dict(found.labels),
        "created_at": found.created_at,
        "updated_at": found.updated_at,
        "size": details.size if details else None,
        "platform": str(details.config.platform) if details else None,
        "manifest": details.target.digest if details else None,
        "snapshot": details.top if details else None,
    }


_COMMANDS = {
    "ls": ls,
    "pull": pull,
    "push": push,
    "import": import_,
    "export": export,
    "inspect": inspect,
    "tree": tree_,
    "verify": verify,
    "referrers": referrers,
    "tag": tag,
    "convert": convert,
    "mount": mount,
    "unmount": unmount,
    "du": du,
    "prune": prune,
    "rm": rm,
}
for _name, _command in _COMMANDS.items():
    image.add_command(_command, _name)
