"""The transferer of the daemon itself: which pair of source and destination is which transfer."""

from collections.abc import Awaitable

from corten.contracts.scope import Scope
from corten.contracts.transfer import ExportArchive, ImportArchive, RegistryImage, ShowTransfer, StoreImage
from corten.errors import Unimplemented

from .parts import Parts
from .reporting import Report


class LocalTransferer:
    """Fulfils `Transferer`."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def transfer(self, scope: Scope, source: object, destination: object, show: ShowTransfer) -> None:
        await self._chosen(scope, source, destination, show)

    def _chosen(self, scope: Scope, source: object, destination: object, show: ShowTransfer) -> Awaitable[None]:
        parts = self._parts
        match source, destination:
            case RegistryImage(), StoreImage():
                from .pulling import pull

                return pull(parts, scope, source, destination, Report(show))
            case StoreImage(), RegistryImage():
                from .pushing import push

                return push(parts, scope, source, destination, Report(show, "uploading"))
            case ImportArchive(), StoreImage():
                from .archives import take_in

                return take_in(parts, scope, source, destination, Report(show))
            case StoreImage(), ExportArchive():
                from .archives import give_out

                return give_out(parts, scope, source, destination, Report(show))
            case StoreImage(), StoreImage():
                from .tagging import tag

                return tag(parts, scope, source, destination, Report(show))
        raise Unimplemented(
            f"transfer: from {type(source).__name__} to {type(destination).__name__} is nothing that this plugin does"
        )
