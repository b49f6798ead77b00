"""How many calls each gRPC method had, how they ended and, if wanted, how long they took.

The names are those that interceptors for Prometheus use everywhere (`grpc_server_handled_total` …).
"""

import asyncio
from collections import Counter
from collections.abc import Sequence

from corten.contracts.metrics import Kind, Metric, Sample
from corten.errors import CortenError
from corten.tallies import Timings

from .methods import Method

OK = "OK"
CODES = (
    "OK", "Canceled", "Unknown", "InvalidArgument", "DeadlineExceeded", "NotFound", "AlreadyExists", "PermissionDenied",
    "ResourceExhausted", "FailedPrecondition", "Aborted", "OutOfRange", "Unimplemented", "Internal", "Unavailable",
    "DataLoss", "Unauthenticated",
)  # fmt: skip
"""The codes by number, spelled as in these metrics."""
LABELS = ("grpc_type", "grpc_service", "grpc_method")


def code_of(error: BaseException) -> str:
    """How a call ended that raised this."""
    if isinstance(error, asyncio.CancelledError):
        return "Canceled"
    return CODES[error.code] if isinstance(error, CortenError) and error.code < len(CODES) else "Unknown"


class MethodTotals:
    """Of one method; used on the event loop, which is why they are plain numbers."""

    __slots__ = ("_timings", "handled", "labels", "received", "sent", "started")

    def __init__(self, labels: tuple[str, ...], timings: Timings | None) -> None:
        self.labels = labels
        self.started = self.received = self.sent = 0
        self.handled: Counter[str] = Counter()
        self._timings = timings

    def ended(self, code: str, seconds: float) -> None:
        """A call ended."""
        self.handled[code] += 1
        if self._timings is not None:
            self._timings.note(seconds, *self.labels)


class CallTotals:
    """Fulfils `TellsMetrics`; the instance of `io.containerd.metrics.v1.grpc-prometheus`. All servers share it."""

    def __init__(self, histogram: bool = False) -> None:
        text = "How long calls took until their end."
        self._timings = Timings("grpc_server_handling_seconds", text, LABELS) if histogram else None
        self._methods: dict[str, MethodTotals] = {}

    def __repr__(self) -> str:
        return f"CallTotals({sum(each.started for each in self._methods.values())} calls)"

    def of(self, method: Method) -> MethodTotals:
        """Where the calls of `method` are counted."""
        service, _, name = method.path.partition("/")
        kinds = {(False, False): "unary", (False, True): "server_stream", (True, False): "client_stream"}
        kind = kinds.get((method.client_streaming, method.server_streaming), "bidi_stream")
        return self._methods.setdefault(method.path, MethodTotals((kind, service, name), self._timings))

    async def tell_metrics(self) -> Sequence[Metric]:
        """As the contract says; methods that were never called are there too, so that rates begin at 0."""
        all = list(self._methods.values())
        handled = [Sample(number, (*each.labels, code)) for each in all for code, number in each.handled.items()]
        counters = [
            _counter("started", "Calls that began.", [Sample(each.started, each.labels) for each in all]),
            _counter("msg_received", "Messages from clients.", [Sample(each.received, each.labels) for each in all]),
            _counter("msg_sent", "Messages to clients.", [Sample(each.sent, each.labels) for each in all]),
            _counter("handled", "Calls by how they ended.", handled, (*LABELS, "grpc_code")),
        ]
        return counters if self._timings is None else [*counters, self._timings.metric()]


def _counter(name: str, help: str, samples: Sequence[Sample], labels: tuple[str, ...] = LABELS) -> Metric:
    return Metric(f"grpc_server_{name}_total", help, Kind.COUNTER, samples, labels)
