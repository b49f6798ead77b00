"""`corten image convert`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ..session import Session

if TYPE_CHECKING:
    from corten.client import Client


@click.command()
@click.option(
    "--compression",
    type=click.Choice(["gzip", "zstd", "none"]),
    help="Of the layers; by default as they are.",
)
@click.option("--oci", is_flag=True, help="Use OCI's media types in the place of docker's; zstd implies it.")
@click.option("--platform", "platforms_", multiple=True, help="Only this platform, e.g. linux/arm64; all by default.")
@click.argument("image")
@click.argument("name")
@click.pass_obj
def convert(
    session: Session, image: str, name: str, compression: str | None, oci: bool, platforms_: tuple[str, ...]
) -> None:
    """Write IMAGE otherwise, under NAME; prints the full name and digest."""
    if not compression and not oci:
        raise click.UsageError("say what to change: --compression, --oci")

    async def work(client: Client) -> None:
        from corten import platforms
        from corten.client.convert import convert as converted

        from ..bars import watched

        wanted = [platforms.parse(each) for each in platforms_]
        with watched() as progress:
            made = await converted(
                client, image, name, compression=compression or "", oci=oci, platforms=wanted, progress=progress
            )
        click.echo(f"{made.name} {made.target.digest}")

    session.run(work)
