"""The transferer of the daemon itself: which pair of source and destination is which transfer."""

from collections.abc import Sequence

from corten.contracts.metrics import Metric
from corten.contracts.scope import Scope
from corten.contracts.transfer import (
    ConvertedImage,
    ExportArchive,
    ImportArchive,
    RegistryImage,
    ShowTransfer,
    SingleImage,
    StoreImage,
    TransferState,
    TransferTotals,
)
from corten.errors import Unimplemented

from .parts import Parts
from .reporting import Report
from .under_way import UnderWay


class LocalTransferer:
    """Fulfils `Transferer`, `ReadiesPulls`, `TellsTransfers` and `TellsMetrics`."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._all = UnderWay()

    def under_way(self) -> Sequence[TransferState]:
        return self._all.under_way()

    def totals(self) -> Sequence[TransferTotals]:
        return self._all.totals()

    async def tell_metrics(self) -> Sequence[Metric]:
        """As `TellsMetrics` says."""
        from .figures import figures

        return figures(self._all)

    def ready_pulls(self) -> None:
        from . import pulling as pulling

    async def transfer(self, scope: Scope, source: object, destination: object, show: ShowTransfer) -> None:
        kind, image = _kind(source, destination)
        with self._all.watched(scope.namespace, kind, image, show) as watched:
            await self._run(
                scope, source, destination, Report(watched, "uploading" if kind == "push" else "downloading")
            )

    async def _run(self, scope: Scope, source: object, destination: object, report: Report) -> None:
        parts = self._parts
        match source, destination:
            case RegistryImage(), StoreImage():
                from .pulling import pull

                await pull(parts, scope, source, destination, report)
            case ((StoreImage() | SingleImage()), RegistryImage()):
                from .pushing import push

                await push(parts, scope, source, destination, report)
            case ImportArchive(), StoreImage():
                from .archives import take_in

                await take_in(parts, scope, source, destination, report)
            case StoreImage(), ExportArchive():
                from .archives import give_out

                await give_out(parts, scope, source, destination, report)
            case ImportArchive(), ExportArchive():
                from .archives import give_back

                await give_back(source, destination)
            case StoreImage(), StoreImage():
                from .tagging import tag

                await tag(parts, scope, source, destination, report)
            case StoreImage(), ConvertedImage():
                from .converting import convert

                await convert(parts, scope, source, destination, report)


def _kind(source: object, destination: object) -> tuple[str, str]:
    """What the transfer is, and the name of the image for people. Raises Unimplemented for a pair that is none."""
    match source, destination:
        case RegistryImage(), StoreImage():
            return "pull", source.reference
        case ((StoreImage() | SingleImage()), RegistryImage()):
            return "push", destination.reference
        case ImportArchive(), StoreImage():
            return "import", _named(destination)
        case StoreImage(), ExportArchive():
            return "export", _named(source)
        case ImportArchive(), ExportArchive():
            return "echo", "a stream"
        case StoreImage(), StoreImage():
            return "tag", _named(destination)
        case StoreImage(), ConvertedImage():
            return "convert", _named(destination.store)
    raise Unimplemented(
        f"transfer: from {type(source).__name__} to {type(destination).__name__} is nothing that this plugin does"
    )


def _named(image: StoreImage) -> str:
    return ", ".join(filter(None, [image.name, *(reference.name for reference in image.references)]))
