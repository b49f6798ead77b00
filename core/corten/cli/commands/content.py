"""`corten content …`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from ..output import format_option, show
from ..session import Session
from ..words import age, shown_size
from .several import for_each

if TYPE_CHECKING:
    from corten.client import Client
    from corten.contracts.content import ContentInfo, IngestStatus


@click.group()
def content() -> None:
    """Look at and remove blobs."""


@content.command()
@click.option("-q", "--quiet", is_flag=True, help="Only the digests.")
@format_option
@click.argument("filters", nargs=-1)
@click.pass_obj
def ls(session: Session, filters: tuple[str, ...], quiet: bool, format: str) -> None:
    """List blobs; FILTERS are containerd's, e.g. size>1000000 or labels."containerd.io/uncompressed"."""

    async def work(client: Client) -> list[ContentInfo]:
        return [info async for info in client.content.walk(filters)]

    found = session.run(work)
    if quiet:
        for info in found:
            click.echo(info.digest)
        return
    rows = [[i.digest, shown_size(i.size), age(i.created_at), _labels(i)] for i in found]
    records = [
        {"digest": i.digest, "size": i.size, "created_at": i.created_at, "labels": dict(i.labels)} for i in found
    ]
    show(("DIGEST", "SIZE", "CREATED", "LABELS"), rows, records, format)


@content.command()
@click.argument("digest")
@click.pass_obj
def get(session: Session, digest: str) -> None:
    """Write the blob DIGEST to standard output."""

    async def work(client: Client) -> None:
        async for piece in client.content.read(digest):
            sys.stdout.buffer.write(piece)
        sys.stdout.buffer.flush()

    session.run(work)


@content.command()
@click.argument("digests", nargs=-1, required=True)
@click.pass_obj
def rm(session: Session, digests: tuple[str, ...]) -> int:
    """Remove blobs, also those that images need."""
    return for_each(session, digests, lambda client, digest: client.content.delete(digest))


@content.command()
@format_option
@click.pass_obj
def active(session: Session, format: str) -> None:
    """List what is being written, or was left unfinished and can be resumed."""

    async def work(client: Client) -> list[IngestStatus]:
        return await client.content.statuses()

    found = session.run(work)
    rows = [[i.ref, shown_size(i.offset), shown_size(i.total) if i.total else "-", age(i.started_at)] for i in found]
    records = [{"ref": i.ref, "offset": i.offset, "total": i.total, "started_at": i.started_at} for i in found]
    show(("REF", "WRITTEN", "TOTAL", "STARTED"), rows, records, format)


@content.command()
@click.argument("refs", nargs=-1, required=True)
@click.pass_obj
def abort(session: Session, refs: tuple[str, ...]) -> int:
    """Throw away unfinished writes."""
    return for_each(session, refs, lambda client, ref: client.content.abort(ref))


def _labels(info: ContentInfo) -> str:
    return ",".join(f"{key}={value}" for key, value in sorted(info.labels.items())) or "-"
