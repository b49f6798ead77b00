"""Spans for RPCs, plugin starts and background jobs; nothing at all unless OpenTelemetry is configured.

Tracing is on when one of the OTEL_* variables that name an exporter or an endpoint is set
(https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/). Otherwise OpenTelemetry is not
even imported, and `span` costs an attribute look-up.
"""

import os
from contextlib import AbstractContextManager, nullcontext
from typing import Any

_SWITCHES = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_TRACES_EXPORTER")
_OFF: AbstractContextManager[None] = nullcontext()
_tracer: Any = None


def configured(environ: "os._Environ[str] | dict[str, str]" = os.environ) -> bool:
    """Whether the environment asks for traces."""
    if environ.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return False
    return any(environ.get(name, "none") not in ("", "none") for name in _SWITCHES)


def span(name: str, **attributes: str | int | float | bool) -> AbstractContextManager[Any]:
    """A context manager around a piece of work; its error, if it raises, is recorded on the span."""
    if _tracer is None:
        return _OFF
    span_: AbstractContextManager[Any] = _tracer.start_as_current_span(name, attributes=attributes)
    return span_
