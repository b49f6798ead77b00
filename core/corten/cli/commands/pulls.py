"""`corten pulls`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from ..output import format_option, show
from ..session import Session
from ..words import age, shown_size

if TYPE_CHECKING:
    from corten.client import Client
    from corten.contracts.transfer import TransferState, TransferTotals

COLUMNS = ("KIND", "NAMESPACE", "IMAGE", "BYTES", "BLOBS", "BEGAN", "STATE")


@click.command()
@click.option("--totals", is_flag=True, help="How many there were since the daemon began, in the place of those now.")
@format_option
@click.pass_obj
def pulls(session: Session, totals: bool, format: str) -> None:
    """Show the transfers under way, in all namespaces and whoever began them: pulls, pushes, imports, exports."""
    if totals:
        return _totals(session, format)

    async def work(client: Client) -> list[TransferState]:
        return await client.transfers.under_way()

    found = session.run(work)
    return show(COLUMNS, [_row(each) for each in found], [_record(each) for each in found], format)


def _totals(session: Session, format: str) -> None:
    async def work(client: Client) -> list[TransferTotals]:
        return await client.transfers.totals()

    found = session.run(work)
    records = [
        {"kind": each.kind, "completed": each.completed, "failed": each.failed, "bytes": each.bytes} for each in found
    ]
    rows = [[each.kind, each.completed, each.failed, shown_size(each.bytes)] for each in found]
    show(("KIND", "COMPLETED", "FAILED", "MOVED"), rows, records, format)


def _row(state: TransferState) -> list[Any]:
    moved = f"{shown_size(state.done)} of {shown_size(state.total)}"
    blobs = f"{state.items_done} of {state.items}"
    return [state.kind, state.namespace, state.image or "-", moved, blobs, age(state.started_at), state.event or "-"]


def _record(state: TransferState) -> dict[str, Any]:
    return {
        "id": state.id,
        "kind": state.kind,
        "namespace": state.namespace,
        "image": state.image,
        "event": state.event,
        "done": state.done,
        "total": state.total,
        "items_done": state.items_done,
        "items": state.items,
        "started_at": state.started_at,
    }
