"""The daemon's events over the wire."""

from collections.abc import AsyncIterator, Sequence

from corten.api.services.events.v1 import events_pb2 as pb
from corten.api.types import event_pb2
from corten.contracts.events import Envelope
from corten.contracts.objects import AnyValue
from corten.messages.values import any_message, any_value, time_of, timestamp

from .calls import Calls, methods

_RPC = methods(pb, "Events")


class Events:
    """Errors as `corten.contracts.events.Exchange`."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    async def publish(self, topic: str, event: AnyValue) -> None:
        await self._calls.unary(_RPC["Publish"], pb.PublishRequest(topic=topic, event=any_message(event)))

    async def forward(self, envelope: Envelope) -> None:
        message = event_pb2.Envelope(
            timestamp=timestamp(envelope.timestamp),
            namespace=envelope.namespace,
            topic=envelope.topic,
            event=any_message(envelope.event),
        )
        await self._calls.unary(_RPC["Forward"], pb.ForwardRequest(envelope=message))

    async def subscribe(self, filters: Sequence[str] = ()) -> AsyncIterator[Envelope]:
        """Events of every namespace from now on, those that match one of the filters; endless."""
        async for message in self._calls.server_stream(_RPC["Subscribe"], pb.SubscribeRequest(filters=filters)):
            yield Envelope(time_of(message.timestamp), message.namespace, message.topic, any_value(message.event))
