"""Contract of the event exchange: everything that happens, in order, to whoever subscribed.

A *topic* is a path such as `/tasks/start`; an event is a protobuf message packed in an Any whose type URL is the
message's full name with no host before it, as containerd's clients expect.
Subscribers have a bounded queue; one that falls behind the bound is ended with ResourceExhausted and loses nothing
silently.
"""

from collections.abc import AsyncGenerator, Sequence
from typing import Protocol

from corten.values import dataclass

from .objects import AnyValue


@dataclass(frozen=True, slots=True)
class Envelope:
    """An event with when (nanoseconds since the epoch), in which namespace and on which topic it happened."""

    timestamp: int
    namespace: str
    topic: str
    event: AnyValue


class Exchange(Protocol):
    """`publish` and `forward` may be called from any thread and never block."""

    def publish(self, namespace: str, topic: str, event: object) -> None:
        """Stamp and send a protobuf message or an `AnyValue`.

        Raises InvalidArgument for a topic that is not `/`-separated identifiers, or a bad namespace.
        """
        ...

    def forward(self, envelope: Envelope) -> None:
        """Send an envelope that another process stamped. Raises InvalidArgument as `publish`, or for no timestamp."""
        ...

    def subscribe(self, filters: Sequence[str] = ()) -> AsyncGenerator[Envelope, None]:
        """Events published after this call returned that match one of the filters; ends when it is closed (`aclose`).

        Filter fields: namespace, topic, event.FIELD. Raises InvalidArgument for a filter that does not parse.
        """
        ...
