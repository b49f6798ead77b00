"""Tracing: nothing at all when it is off, spans where it is on."""

import subprocess
import sys

OFF = """
import sys
from corten import tracing
assert tracing.setup() is False
with tracing.span("x", name="y"), tracing.server_span("z", {"traceparent": "t"}):
    pass
tracing.shutdown()
assert not [name for name in sys.modules if name.startswith("opentelemetry")]
"""
ON = """
from corten import tracing
assert tracing.setup() is True
with tracing.server_span("a.B/C", {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}):
    with tracing.span("plugin start", name="x"):
        pass
tracing.shutdown()
"""


def run(source: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", source], env=env, capture_output=True, text=True, check=False)


def test_it_is_off_and_free_unless_asked_for() -> None:
    for env in ({}, {"OTEL_TRACES_EXPORTER": "none"}, {"OTEL_SDK_DISABLED": "true", "OTEL_TRACES_EXPORTER": "console"}):
        assert run(OFF, **env).stderr == ""


def test_spans_go_to_the_console_and_carry_on_the_callers_trace() -> None:
    done = run(ON, OTEL_TRACES_EXPORTER="console")
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("0x0af7651916cd43dd8448eb211c80319c") == 2
    assert '"parent_id": "0xb7ad6b7169203331"' in done.stderr
    assert '"service.name": "cortend"' in done.stderr
    assert '"kind": "SpanKind.SERVER"' in done.stderr


def test_an_exporter_that_is_not_known_is_named() -> None:
    done = run("from corten import tracing\nprint(tracing.setup())", OTEL_TRACES_EXPORTER="zipkin")
    assert done.stdout == "False\n"
    assert "zipkin" in done.stderr
