"""Every RPC is a span, under the span of its caller when that one says so."""

import os
import subprocess
import sys
from pathlib import Path

from wire.support import SERVICE

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"

# In a process of its own: tracing is one switch for the whole process.
PROGRAM = """
import asyncio, sys
from pathlib import Path
from google.protobuf.wrappers_pb2 import StringValue
from corten import tracing
from corten.errors import NotFound
from wire.support import SERVICE, Echo, grpc_pair, rpc, text, ttrpc_pair

PARENT = {"traceparent": sys.argv[1]}

async def main(folder):
    async with grpc_pair(folder / "g", Echo()) as channel:
        await channel.unary(rpc("Say"), text("x"), metadata=PARENT)
        try:
            await channel.unary(rpc("Say"), text("raise:5"))
        except NotFound:
            pass
    async with ttrpc_pair(folder / "t", Echo()) as client:
        await client.call(SERVICE, "Say", text("x"), StringValue, metadata=PARENT)

tracing.setup()
asyncio.run(main(Path(sys.argv[2])))
tracing.shutdown()
print("sdk imported" if "opentelemetry.sdk" in sys.modules else "sdk not imported")
"""


def run(tmp_path: Path, **environ: str) -> str:
    """What the program printed; the console exporter writes to stderr."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, f"00-{TRACE}-00f067aa0ba902b7-01", str(tmp_path)],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(Path(__file__).parents[1]), **environ},
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    return done.stdout + done.stderr


def test_calls_of_both_transports_are_spans(tmp_path: Path) -> None:
    written = run(tmp_path, OTEL_TRACES_EXPORTER="console")
    assert written.count(f'"name": "{SERVICE}/Say"') == 3
    assert written.count(f'"trace_id": "0x{TRACE}"') == 2
    assert "told to fail with 5" in written


def test_untraced_calls_do_not_import_opentelemetry(tmp_path: Path) -> None:
    assert run(tmp_path) == "sdk not imported\n"
