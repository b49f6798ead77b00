"""One ttrpc connection on asyncio: frames in and out, with a bound on what waits for a peer that does not read."""

import asyncio
from collections.abc import Callable
from typing import cast

from corten.errors import CortenError, InvalidArgument, ResourceExhausted, Unavailable

from .frames import Decoder, Frame, Oversized


class FrameConnection(asyncio.Protocol):
    """Calls `received` for each frame and `lost` once at the end, with the reason if there is one.

    A server gives `stall`: while its peer does not read what it was sent, nothing is read from the peer either, so
    that no more can wait than the transport's buffer and the answers under way; after `stall` seconds the connection
    ends. A client gives none and always reads: two sides that both waited for the other to read would wait for ever.
    """

    def __init__(
        self,
        received: Callable[[Frame | Oversized], None],
        lost: Callable[[CortenError | None], None],
        stall: float | None = None,
    ) -> None:
        self._received, self._lost, self._stall = received, lost, stall
        self._decoder = Decoder()
        self._transport: asyncio.Transport | None = None
        self._writable = asyncio.Event()
        self._writable.set()
        self._stalled: asyncio.TimerHandle | None = None
        self._reason: CortenError | None = None

    @property
    def transport(self) -> asyncio.Transport | None:
        """The transport while there is a connection."""
        return self._transport

    def send(self, frame: bytes) -> None:
        """Hand a frame to the transport. Raises Unavailable once the connection is gone."""
        if self._transport is None or self._transport.is_closing():
            raise self._reason or Unavailable("the ttrpc connection is closed")
        self._transport.write(frame)

    async def drain(self) -> None:
        """Wait until the peer has taken most of what was sent, or has gone."""
        await self._writable.wait()

    def close(self) -> None:
        """End the connection after what was sent."""
        if self._transport:
            self._transport.close()

    @property
    def faulty(self) -> bool:
        """Whether the peer broke the rules, and did not just go away."""
        return isinstance(self._reason, InvalidArgument | ResourceExhausted)

    def fail(self, reason: CortenError) -> None:
        """End the connection at once."""
        self._reason = self._reason or reason
        if self._transport:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        try:
            events = self._decoder.feed(data)
        except CortenError as error:
            return self.fail(error)
        for event in events:
            self._received(event)
        return None

    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None
        self._set_stalled(None)
        self._writable.set()
        if error and self._reason is None:
            self._reason = Unavailable(f"the ttrpc connection broke: {error}")
        self._lost(self._reason)

    def pause_writing(self) -> None:
        self._writable.clear()
        if self._stall is None or self._transport is None:
            return
        self._transport.pause_reading()
        reason = ResourceExhausted(f"the ttrpc peer read nothing for {self._stall:g} s")
        self._set_stalled(asyncio.get_running_loop().call_later(self._stall, self.fail, reason))

    def resume_writing(self) -> None:
        self._writable.set()
        self._set_stalled(None)
        if self._stall is not None and self._transport and not self._transport.is_closing():
            self._transport.resume_reading()

    def _set_stalled(self, timer: asyncio.TimerHandle | None) -> None:
        if self._stalled:
            self._stalled.cancel()
        self._stalled = timer
