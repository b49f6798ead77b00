"""Transfers as metrics: totals by kind, and how far those under way are."""

from collections.abc import Sequence

from corten.contracts.metrics import Kind, Metric, Sample
from corten.contracts.transfer import TellsTransfers, TransferState

_ONE = ("id", "kind", "namespace", "image")


def figures(transfers: TellsTransfers) -> Sequence[Metric]:
    """What they tell now."""
    return [*_ended(transfers), *_under_way(transfers.under_way())]


def _ended(transfers: TellsTransfers) -> Sequence[Metric]:
    totals = transfers.totals()
    ends = [
        Sample(number, (each.kind, status))
        for each in totals
        for status, number in (("success", each.completed), ("failure", each.failed))
    ]
    moved = [Sample(each.bytes, (each.kind,)) for each in totals]
    return [
        Metric(
            "corten_transfers_total", "Transfers that ended: pulls, pushes …", Kind.COUNTER, ends, ("kind", "status")
        ),
        Metric(
            "corten_transfer_bytes_total", "Bytes of blobs that ended transfers moved.", Kind.COUNTER, moved, ("kind",)
        ),
    ]


def _under_way(states: Sequence[TransferState]) -> Sequence[Metric]:
    def gauge(name: str, help: str, values: Sequence[float]) -> Metric:
        labels = [(str(state.id), state.kind, state.namespace, state.image) for state in states]
        return Metric(name, help, Kind.GAUGE, list(map(Sample, values, labels)), _ONE)

    return [
        Metric("corten_transfers_under_way", "Transfers now.", Kind.GAUGE, [Sample(len(states))]),
        gauge("corten_transfer_done_bytes", "Bytes that a transfer has moved.", [state.done for state in states]),
        gauge("corten_transfer_size_bytes", "Bytes that it is known to have.", [state.total for state in states]),
        gauge(
            "corten_transfer_start_time_seconds",
            "When it began, since the epoch.",
            [state.started_at / 10**9 for state in states],
        ),
    ]
