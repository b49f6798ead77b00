"""`corten push` and `corten export`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ..reporting import say
from ..session import Session

if TYPE_CHECKING:
    from corten.client import Client


@click.command()
@click.option("--plain-http", is_flag=True, help="Speak http; with a registry on this machine that is done anyway.")
@click.option("--login", help="USER[:PASSWORD] for the registry; docker's config file is looked at otherwise.")
@click.option("--referrers", is_flag=True, help="Push what refers to it too, as far as it is here.")
@click.option("--platform", help="Only the image for this platform, e.g. linux/arm64, under the name by itself.")
@click.argument("image")
@click.argument("name", required=False, default="")
@click.pass_obj
def push(
    session: Session,
    /,
    image: str,
    name: str,
    plain_http: bool,
    login: str | None,
    referrers: bool,
    platform: str | None,
) -> None:
    """Push IMAGE to its registry, or under another NAME; prints the full name."""

    async def work(client: Client) -> None:
        from corten import platforms
        from corten.client.push import push as pushed

        from ..bars import watched
        from .common import credentials

        with watched() as progress:
            said = await pushed(
                client,
                image,
                name,
                plain_http=True if plain_http else None,
                credentials=credentials(login),
                progress=progress,
                warn=say,
                referrers=() if referrers else None,
                platform=platforms.parse(platform) if platform else None,
            )
        click.echo(said)

    session.run(work)


@click.command()
@click.option("--platform", help="The platform wanted, e.g. linux/arm64; this machine's by default.")
@click.option("--all-platforms", is_flag=True, help="Every platform that the images are made for.")
@click.argument("archive", type=click.Path(dir_okay=False, allow_dash=True))
@click.argument("images", nargs=-1, required=True)
@click.pass_obj
def export(
    session: Session, /, archive: str, images: tuple[str, ...], platform: str | None, all_platforms: bool
) -> None:
    """Write IMAGES to ARCHIVE (- for standard output), a tar that skopeo, docker load and corten import read."""

    async def work(client: Client) -> None:
        from corten import platforms
        from corten.client.export import export_archive

        from ..whole_file import whole_file

        wanted = platforms.parse(platform) if platform else None
        with whole_file(archive) as file:
            await export_archive(client, images, file, platform=wanted, all_platforms=all_platforms)

    session.run(work)
