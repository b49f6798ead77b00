"""A gRPC server for a catalogue of services on one listener: starts, answers, and stops without a call cut in two.

It listens while the services of its catalogue may still be starting: calls of those wait.
"""

import logging
from typing import Any

import grpc.aio

from corten.supervisor import Supervisor

from ..catalogue import Catalogue
from ..limits import Limits
from ..running import Running
from ..totals import CallTotals
from .handlers import Handlers
from .listeners import Listener

log = logging.getLogger(__name__)

_LAST_ANSWERS = 0.5
"""Seconds for the last statuses to leave once every handler has ended."""


class GrpcServer:
    """`start` and `close` are called on the event loop, once each."""

    def __init__(
        self,
        listener: Listener,
        catalogue: Catalogue,
        supervisor: Supervisor,
        limits: Limits,
        totals: CallTotals | None = None,
    ) -> None:
        self.listener = listener
        self._limits = limits
        self._handlers = Handlers(
            catalogue, Running(supervisor, limits.max_filter_length), limits, listener.admit, totals
        )
        self._catalogue, self._supervisor = catalogue, supervisor
        self._server: grpc.aio.Server | None = None

    def __repr__(self) -> str:
        return f"GrpcServer({self.listener}, {'serving' if self._server else 'stopped'})"

    async def start(self) -> None:
        """Listen and answer. Raises FailedPrecondition when the address is taken."""
        server = grpc.aio.server(
            handlers=(self._handlers,),
            options=_options(self._limits),
            maximum_concurrent_rpcs=self._limits.max_concurrent_calls,
        )
        try:
            self.listener.bind(server)
            await server.start()
            self.listener.open()
        except BaseException:
            await server.stop(None)
            self.listener.release()
            raise
        self._server = server
        log.info("listening on %s", self.listener)
        self._supervisor.background(f"services of {self.listener}", self._complete())

    async def _complete(self) -> None:
        await self._handlers.complete()
        log.info("serving %d gRPC services on %s", len(self._catalogue.services), self.listener)

    async def close(self) -> None:
        """Take no more calls, end those that wait, give the others their grace, cancel the rest."""
        server, self._server = self._server, None
        if server is None:
            return
        self.listener.close()
        self._handlers.refuse()
        self._handlers.underway.interrupt()
        await self._handlers.underway.ended(self._limits.stop_grace)
        # Not earlier: whoever writes to a connection that grpc closes loses the answers that it has not read yet.
        # The limit is for clients that do not read: they keep their call open in grpc although its handler has ended.
        await server.stop(_LAST_ANSWERS)
        self.listener.release()


def _options(limits: Limits) -> list[tuple[str, Any]]:
    return [
        ("grpc.max_receive_message_length", limits.receives),
        # The size of replies is checked in the handler, which can say what to do about it.
        ("grpc.max_send_message_length", -1),
        ("grpc.max_concurrent_streams", limits.max_concurrent_streams),
        # A burst of calls beyond these is cancelled by grpc before any handler sees it; its own: 1000, 3000.
        ("grpc.server.max_pending_requests", limits.max_concurrent_calls),
        ("grpc.server.max_pending_requests_hard_limit", 2 * limits.max_concurrent_calls),
        ("grpc.so_reuseport", 0),
        # Clients on this host may ping as they like: Go's send keepalives at their own pace.
        ("grpc.http2.max_ping_strikes", 0),
        ("grpc.keepalive_permit_without_calls", 1),
    ]
