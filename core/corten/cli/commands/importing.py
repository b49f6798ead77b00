"""`corten import`."""

from __future__ import annotations

from typing import TYPE_CHECKING, BinaryIO

import click

from ..session import Session
from .common import snapshotter_option

if TYPE_CHECKING:
    from corten.client import Client


@click.command()
@click.option("--no-unpack", is_flag=True, help="Only store; unpack when a container is made.")
@click.option("--name", default="", help="For an archive whose one image has no name, or only a tag.")
@click.option("--platform", help="The platform to unpack, e.g. linux/arm64; this machine's by default.")
@click.option("--compress", is_flag=True, help="Compress the layers of a docker archive in the store (gzip).")
@snapshotter_option
@click.argument("archive", type=click.File("rb"))
@click.pass_obj
def import_(
    session: Session,
    archive: BinaryIO,
    name: str,
    no_unpack: bool,
    platform: str | None,
    compress: bool,
    snapshotter: str,
) -> None:
    """Take in the images of ARCHIVE, a tar as `docker save` or `skopeo copy … oci-archive:` write it."""

    async def work(client: Client) -> None:
        from corten import platforms
        from corten.client.archive import import_archive

        from ..bars import watched

        with watched() as progress:
            images = await import_archive(
                client,
                archive,
                name=name,
                snapshotter="" if no_unpack else snapshotter,
                platform=platforms.parse(platform) if platform else None,
                compress=compress,
                progress=progress,
            )
        for image in images:
            click.echo(f"{image.name} {image.target.digest}")

    session.run(work)
