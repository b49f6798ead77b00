"""Every RPC is a span, under the span of its caller when that one says so."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from corten import tracing
from corten.errors import NotFound
from google.protobuf.wrappers_pb2 import StringValue
from wire.support import SERVICE, Echo, grpc_pair, rpc, text, ttrpc_pair

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = {"traceparent": f"00-{TRACE}-00f067aa0ba902b7-01"}


@pytest.fixture
def traced(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[None]:
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "console")
    assert tracing.setup()
    yield
    tracing.shutdown()


@pytest.mark.usefixtures("traced")
async def test_calls_of_both_transports_are_spans(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async with grpc_pair(tmp_path / "g", Echo()) as channel:
        await channel.unary(rpc("Say"), text("x"), metadata=PARENT)
        with pytest.raises(NotFound):
            await channel.unary(rpc("Say"), text("raise:5"))
    async with ttrpc_pair(tmp_path / "t", Echo()) as client:
        await client.call(SERVICE, "Say", text("x"), StringValue, metadata=PARENT)
    tracing.shutdown()
    written = capsys.readouterr().out
    assert written.count(f'"name": "{SERVICE}/Say"') == 3
    assert written.count(f'"trace_id": "0x{TRACE}"') == 2
    assert "told to fail with 5" in written
