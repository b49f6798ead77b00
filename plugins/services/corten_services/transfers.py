"""The service `Transfers`: what transfers are under way, and how many there were."""

from collections.abc import Sequence

from corten.api.corten.images.v1 import images_pb2 as pb
from corten.contracts.transfer import TellsTransfers
from corten.messages.transfer import state_message, totals_message
from corten.wire.service import CallContext, cancellable


class TransfersService:
    """Asks every transferer that tells."""

    def __init__(self, transferers: Sequence[object]) -> None:
        self._telling = [each for each in transferers if isinstance(each, TellsTransfers)]

    @cancellable
    async def list(self, request: pb.ListTransfersRequest, call: CallContext) -> pb.ListTransfersResponse:
        states = [state for each in self._telling for state in each.under_way()]
        return pb.ListTransfersResponse(
            transfers=[state_message(state) for state in states if request.namespace in ("", state.namespace)],
            totals=[totals_message(totals) for each in self._telling for totals in each.totals()],
        )
