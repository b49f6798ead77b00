"""The streams that are open, by namespace and id; a stream of a lease ends with it."""

import asyncio
from collections.abc import Callable, Iterable
from threading import Lock
from typing import NamedTuple

from corten.contracts.scope import Scope
from corten.contracts.streaming import Stream
from corten.errors import AlreadyExists, InvalidArgument, NotFound

KIND = "stream"
"""Of the nodes that stand for streams in a garbage collection."""


class StreamNode(NamedTuple):
    """A stream as the collector knows it: it has the fields of the collector's own nodes."""

    kind: str
    namespace: str
    key: str
    flat: bool = False

    @property
    def object(self) -> "StreamNode":
        """Itself: no stream is reached flatly."""
        return self


class Entry(NamedTuple):
    """An open stream and the lease it belongs to; empty for none."""

    stream: Stream
    lease: str


class OpenStreams:
    """Fulfils `StreamManager`; collections look at it from their own threads."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._lock = Lock()
        self._open: dict[tuple[str, str], Entry] = {}

    def __repr__(self) -> str:
        return f"OpenStreams({len(self._open)})"

    async def start(self) -> None:
        """Learn which loop the streams are used on."""
        self._loop = asyncio.get_running_loop()

    def register(self, scope: Scope, id: str, stream: Stream) -> None:
        if not id:
            raise InvalidArgument("stream: its id must not be empty")
        with self._lock:
            if (scope.namespace, id) in self._open:
                raise AlreadyExists(f"stream {id[:200]!r}: there is one of that id in namespace {scope.namespace!r}")
            self._open[scope.namespace, id] = Entry(stream, scope.lease)

    def get(self, scope: Scope, id: str) -> Stream:
        with self._lock:
            found = self._open.get((scope.namespace, id))
        if found is None:
            raise NotFound(f"stream {id[:200]!r}: none of that id is open in namespace {scope.namespace!r}")
        return found.stream

    def release(self, scope: Scope, id: str, stream: Stream) -> None:
        with self._lock:
            found = self._open.get((scope.namespace, id))
            if found is not None and found.stream is stream:
                del self._open[scope.namespace, id]

    def snapshot(self) -> dict[StreamNode, str]:
        """Every stream with its lease."""
        with self._lock:
            return {StreamNode(KIND, space, id): entry.lease for (space, id), entry in self._open.items()}

    def end(self, nodes: Iterable[StreamNode]) -> None:
        """Close these, from any thread."""
        with self._lock:
            ended = [self._open[node.namespace, node.key] for node in nodes if (node.namespace, node.key) in self._open]
        for entry in ended if self._loop else ():
            asyncio.run_coroutine_threadsafe(entry.stream.close(), self._loop)  # type: ignore[arg-type]


class StreamCollector:
    """Lets garbage collections end the streams of leases that are gone; a stream without lease just stays."""

    reference_label = KIND

    def __init__(self, streams: OpenStreams) -> None:
        self._streams = streams

    def start(self) -> "StreamCollection":
        return StreamCollection(self._streams.snapshot(), self._streams.end)


class StreamCollection:
    """One collection, over the streams that were open when it began."""

    def __init__(self, streams: dict[StreamNode, str], end: Callable[[Iterable[StreamNode]], None]) -> None:
        self._streams = streams
        self._end = end
        self._removed: list[StreamNode] = []

    def all(self) -> Iterable[StreamNode]:
        return self._streams

    def active(self, namespace: str) -> Iterable[StreamNode]:
        return [node for node, lease in self._streams.items() if node.namespace == namespace and not lease]

    def leased(self, namespace: str, lease: str) -> Iterable[StreamNode]:
        return [node for node, held in self._streams.items() if node.namespace == namespace and held == lease]

    def references(self, node: StreamNode) -> Iterable[StreamNode]:
        return ()

    def remove(self, node: StreamNode) -> None:
        self._removed.append(StreamNode(node.kind, node.namespace, node.key))

    def cancel(self) -> None:
        self._removed = []

    def finish(self) -> None:
        self._end(self._removed)
