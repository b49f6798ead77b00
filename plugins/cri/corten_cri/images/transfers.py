"""The daemon's transfer plugins as one: the first that knows the pair of source and destination does it."""

from collections.abc import Sequence

from corten.contracts.scope import Scope
from corten.contracts.transfer import ReadiesPulls, ShowTransfer, Transferer
from corten.errors import Unimplemented


class Transfers:
    """Used on the event loop."""

    def __init__(self, transferers: Sequence[Transferer]) -> None:
        self._transferers = tuple(transferers)

    def ready_pulls(self) -> None:
        """As `ReadiesPulls` says."""
        for transferer in self._transferers:
            if isinstance(transferer, ReadiesPulls):
                transferer.ready_pulls()

    async def run(self, scope: Scope, source: object, destination: object, show: ShowTransfer) -> None:
        """Raises Unimplemented if no plugin knows the pair, and what the transfer raises."""
        for transferer in self._transferers:
            try:
                return await transferer.transfer(scope, source, destination, show)
            except Unimplemented:
                if transferer is self._transferers[-1]:
                    raise
        raise Unimplemented(f"transfer of {source}: no transfer plugin is there (see `corten plugins ls`)")
