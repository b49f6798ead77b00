"""`corten image mount` and `unmount`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..session import Session
from .common import snapshotter_option

if TYPE_CHECKING:
    from corten.client import Client


@click.command()
@click.option("--rw", "writable", is_flag=True, help="Let it be written; the changes go when it is unmounted.")
@click.option("--platform", help="The platform wanted, e.g. linux/arm64; this machine's by default.")
@snapshotter_option
@click.argument("image")
@click.argument("target", type=click.Path(path_type=Path))
@click.pass_obj
def mount(session: Session, image: str, target: Path, writable: bool, platform: str | None, snapshotter: str) -> None:
    """Mount the files of IMAGE at TARGET, an empty folder of this machine, which must be the daemon's."""

    async def work(client: Client) -> None:
        from corten import platforms
        from corten.client.image_mount import mount as mounted

        wanted = platforms.parse(platform) if platform else None
        await mounted(client, image, target, snapshotter=snapshotter, writable=writable, platform=wanted)

    session.run(work)


@click.command()
@click.argument("target", type=click.Path(path_type=Path))
@click.pass_obj
def unmount(session: Session, target: Path) -> None:
    """Unmount what `corten image mount` mounted at TARGET."""

    async def work(client: Client) -> None:
        from corten.client.image_mount import unmount as unmounted

        await unmounted(client, target)

    session.run(work)
