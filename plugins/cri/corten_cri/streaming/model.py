"""What is streamed, whatever carries it: byte streams to and from a client, and what they are connected to.

All of it lives on one event loop. When the client goes away, the task that serves it is cancelled.
"""

from collections.abc import AsyncIterator, Sequence
from typing import Protocol

from corten.values import dataclass


class Source(Protocol):
    """Bytes to be read."""

    async def read(self) -> bytes:
        """Some bytes, as soon as there are any; empty at the end, again and again."""
        ...


class Sink(Protocol):
    """Where bytes go."""

    async def write(self, data: bytes) -> None:
        """Returns when more may be written: a slow reader slows the writer. Raises ConnectionError if nobody reads."""
        ...

    async def close(self) -> None:
        """There is no more. May be called twice."""
        ...


class Duplex(Source, Sink, Protocol):
    """Both; `close` ends the writing direction only."""


class Transport(Protocol):
    """What frames travel on: a TCP connection, or a WebSocket that tunnels."""

    async def read(self) -> bytes:
        """Bytes as they come; empty once the other side is gone."""
        ...

    async def send(self, data: bytes) -> None:
        """Returns when more may be sent. Raises ConnectionError."""
        ...


@dataclass(frozen=True, slots=True)
class TerminalSize:
    """In characters."""

    width: int
    height: int


@dataclass(frozen=True, slots=True)
class CommandStreams:
    """The streams of one exec or attach; None for those that the client does not want."""

    stdin: Source | None = None
    stdout: Sink | None = None
    stderr: Sink | None = None
    terminal: bool = False
    sizes: AsyncIterator[TerminalSize] | None = None
    """Each size of the client's terminal, the first at once; ends with the client."""


class Target(Protocol):
    """What streams are connected to. Errors of `corten.errors` are told to the client."""

    async def exec(self, container: str, command: Sequence[str], streams: CommandStreams) -> int:
        """Run a command; its exit status, once it has ended and its output was passed on.

        When the client goes (cancellation), its process loses its streams, and one with a terminal is hung up.
        """
        ...

    async def attach(self, container: str, streams: CommandStreams) -> None:
        """Join a container's own streams until it ends, or the client has closed its standard input."""
        ...

    async def forward(self, pod: str, port: int, stream: Duplex) -> None:
        """Connect to a port of a pod and copy both ways until both have ended."""
        ...
