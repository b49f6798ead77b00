"""Contract of the streams: channels of typed messages between a client and whatever in the daemon it named them to.

A client opens a stream under an id of its choice, and then gives that id in a request: for progress, for the bytes of
an archive, for questions about credentials. The daemon's side finds it with `get`, sends and receives, and closes it.
A stream belongs to a namespace, and to a lease if its client had one: it is closed when that lease ends.

    stream = streams.get(scope, "progress-1")
    await stream.send(AnyValue("containerd.types.transfer.Progress", message))
    await stream.close()

Everything is used on the event loop.
"""

from typing import Protocol

from .objects import AnyValue
from .scope import Scope


class Stream(Protocol):
    """One stream; one task may send while another receives."""

    async def send(self, message: AnyValue) -> None:
        """Waits while the client takes nothing. Raises Unavailable once the stream has ended."""
        ...

    async def receive(self) -> AnyValue | None:
        """The next message; None when the client sends no more. Raises Cancelled when it went away instead."""
        ...

    async def close(self) -> None:
        """End it, once everything that was sent is on its way; harmless if it has ended."""
        ...

    async def finished(self) -> None:
        """After `close`: wait until all that was sent has left for the client, or the client is gone."""
        ...


class StreamManager(Protocol):
    """The streams that are open (`io.containerd.streaming.v1.manager`)."""

    def register(self, scope: Scope, id: str, stream: Stream) -> None:
        """Make the stream known. Raises AlreadyExists, InvalidArgument for an empty id."""
        ...

    def get(self, scope: Scope, id: str) -> Stream:
        """Raises NotFound; the lease of the scope does not matter."""
        ...

    def release(self, scope: Scope, id: str, stream: Stream) -> None:
        """Forget a stream that has ended; harmless if another has its id by now."""
        ...
