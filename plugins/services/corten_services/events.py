"""The service `Events`, over gRPC and over ttrpc: what happens, for whoever asks."""

from collections.abc import AsyncIterator
from contextlib import aclosing

from corten.api.services.events.v1 import events_pb2 as pb
from corten.api.services.ttrpc.events.v1 import events_pb2 as ttrpc_pb
from corten.api.types.event_pb2 import Envelope as EnvelopeMessage
from corten.contracts.events import Envelope, Exchange
from corten.messages.values import any_message, any_value, nanoseconds, present, timestamp
from corten.wire.service import CallContext
from google.protobuf.empty_pb2 import Empty


class EventsService:
    """A thin layer over the exchange."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange

    async def publish(self, request: pb.PublishRequest, call: CallContext) -> Empty:
        present(request, "event")
        self._exchange.publish(call.scope().namespace, request.topic, any_value(request.event))
        return Empty()

    async def forward(self, request: pb.ForwardRequest, call: CallContext) -> Empty:
        self._exchange.forward(_envelope(request))
        return Empty()

    async def subscribe(self, request: pb.SubscribeRequest, call: CallContext) -> AsyncIterator[EnvelopeMessage]:
        """The events of all namespaces, unless a filter says otherwise."""
        async with aclosing(self._exchange.subscribe(list(request.filters))) as envelopes:
            async for envelope in envelopes:
                yield _message(envelope)


class ForwardService:
    """What a shim calls over ttrpc."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange

    async def forward(self, request: ttrpc_pb.ForwardRequest, call: CallContext) -> Empty:
        self._exchange.forward(_envelope(request))
        return Empty()


def _envelope(request: pb.ForwardRequest | ttrpc_pb.ForwardRequest) -> Envelope:
    present(request, "envelope")
    message = request.envelope
    return Envelope(nanoseconds(message.timestamp), message.namespace, message.topic, any_value(message.event))


def _message(envelope: Envelope) -> EnvelopeMessage:
    return EnvelopeMessage(
        timestamp=timestamp(envelope.timestamp),
        namespace=envelope.namespace,
        topic=envelope.topic,
        event=any_message(envelope.event),
    )
