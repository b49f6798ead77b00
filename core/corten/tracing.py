"""Spans for RPCs, plugin starts and background jobs; nothing at all unless OpenTelemetry is configured.

Tracing is on when one of the OTEL_* variables that name an exporter or an endpoint is set
(https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/). Otherwise OpenTelemetry is not
even imported, and `span` costs an attribute look-up.
"""

import logging
import os
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

log = logging.getLogger(__name__)

_SWITCHES = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_TRACES_EXPORTER")
_OFF: AbstractContextManager[None] = nullcontext()
_tracer: Any = None
_provider: Any = None


def configured(environ: "os._Environ[str] | dict[str, str]" = os.environ) -> bool:
    """Whether the environment asks for traces."""
    if environ.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return False
    if environ.get("OTEL_TRACES_EXPORTER", "").strip() == "none":
        return False
    return any(environ.get(name, "") for name in _SWITCHES)


def setup(service: str = "cortend") -> bool:
    """Start tracing if the environment asks for it; whether it did. An exporter that is missing is logged."""
    global _tracer, _provider
    if not configured() or _tracer is not None:
        return _tracer is not None
    processors = [made for name in _exporters() if (made := _processor(name)) is not None]
    if not processors:
        return False
    from opentelemetry.sdk.resources import SERVICE_NAME, Resource
    from opentelemetry.sdk.trace import TracerProvider

    named = {} if os.environ.get("OTEL_SERVICE_NAME") else {SERVICE_NAME: service}
    _provider = TracerProvider(resource=Resource.create(named))
    for processor in processors:
        _provider.add_span_processor(processor)
    _tracer = _provider.get_tracer("corten")
    return True


def shutdown() -> None:
    """Send what is left, and end tracing; harmless if it is off."""
    global _tracer, _provider
    if _provider is not None:
        _provider.shutdown()
    _tracer = _provider = None


def span(name: str, /, **attributes: str | int | float | bool) -> AbstractContextManager[Any]:
    """A context manager around a piece of work; its error, if it raises, is recorded on the span."""
    if _tracer is None:
        return _OFF
    span_: AbstractContextManager[Any] = _tracer.start_as_current_span(name, attributes=attributes)
    return span_


def server_span(name: str, carrier: Mapping[str, str]) -> AbstractContextManager[Any]:
    """A span for a call that came in; `carrier` is its metadata, whose `traceparent` names the caller's span.

    https://www.w3.org/TR/trace-context/
    """
    if _tracer is None:
        return _OFF
    from opentelemetry.trace import SpanKind
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    parent = TraceContextTextMapPropagator().extract(dict(carrier))
    span_: AbstractContextManager[Any] = _tracer.start_as_current_span(name, context=parent, kind=SpanKind.SERVER)
    return span_


def _exporters() -> list[str]:
    wanted = os.environ.get("OTEL_TRACES_EXPORTER", "") or "otlp"
    return [name.strip() for name in wanted.split(",") if name.strip() not in ("", "none")]


def _processor(name: str) -> Any:
    """What sends spans to that exporter; None, and a line in the log, if it is not to be had."""
    if name == "console":
        import sys

        from opentelemetry.sdk.trace.export import ConsoleSpanExporter, SimpleSpanProcessor

        return SimpleSpanProcessor(ConsoleSpanExporter(out=sys.stderr))
    if name != "otlp":
        log.warning("tracing: exporter %s of OTEL_TRACES_EXPORTER is not known (otlp or console)", name)
        return None
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    except ImportError as error:
        log.warning("tracing: off, the OTLP exporter is not installed: %s (pip install 'corten[otlp]')", error)
        return None
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    return BatchSpanProcessor(OTLPSpanExporter())
