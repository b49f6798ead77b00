"""`corten image referrers`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ..output import format_option, show
from ..session import Session
from ..words import shown_size

if TYPE_CHECKING:
    from corten.client import Client
    from corten.registry.kept_referrers import Referrer

COLUMNS = ("ARTIFACT TYPE", "DIGEST", "SIZE", "ANNOTATIONS")


@click.command()
@click.option("--type", "type_", default="", help="Only of this artifact type.")
@click.option("--plain-http", is_flag=True, help="Speak http; with a registry on this machine that is done anyway.")
@click.option("--login", help="USER[:PASSWORD] for the registry; docker's config file is looked at otherwise.")
@format_option
@click.argument("image")
@click.pass_obj
def referrers(session: Session, image: str, type_: str, plain_http: bool, login: str | None, format: str) -> None:
    """List what refers to IMAGE in its registry: signatures, attestations, lists of parts.

    IMAGE is taken as it is here or, if it is not, as its registry has it now.
    """

    async def work(client: Client) -> list[Referrer]:
        from corten.client.referrers import referrers as asked

        from ..reporting import say
        from .common import credentials

        http = True if plain_http else None
        return list(await asked(client, image, type_, plain_http=http, credentials=credentials(login), warn=say))

    found = session.run(work)
    show(COLUMNS, [_row(each) for each in found], [_record(each) for each in found], format)


def _row(each: Referrer) -> list[object]:
    annotations = ",".join(f"{key}={value}" for key, value in sorted(each.descriptor.annotations.items()))
    return [each.artifact_type or "-", each.descriptor.digest, shown_size(each.descriptor.size), annotations or "-"]


def _record(each: Referrer) -> dict[str, object]:
    return {
        "artifact_type": each.artifact_type,
        "digest": each.descriptor.digest,
        "media_type": each.descriptor.media_type,
        "size": each.descriptor.size,
        "annotations": dict(each.descriptor.annotations),
    }
