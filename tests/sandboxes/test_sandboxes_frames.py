"""What the shim controller sends, byte for byte as the tables of the sandbox API have it, put together by hand.

A frame of ttrpc: length and stream id in four bytes each, kind, flags, then the message.
"""

import asyncio
import struct
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from corten.contracts.mounts import Mount
from corten.contracts.objects import AnyValue, RuntimeInfo, Sandbox
from corten.contracts.runtime import CreateOptions, Exit, ShimEndpoint
from corten.contracts.sandboxes import SandboxExit, SandboxInstance, SandboxMetrics, SandboxOptions, SandboxStatus
from corten.linux.removal import remove_tree
from corten.platforms import Platform
from corten.pools import Pools
from corten.supervisor import Supervisor
from corten.testing.events import RecordingExchange
from corten_runtimes.bundle import Bundles
from corten_runtimes.sandbox.controller import ShimSandboxes
from corten_runtimes.sandbox.endpoints import Endpoints

SERVICE = b"containerd.runtime.sandbox.v1.Sandbox"


def varint(value: int) -> bytes:
    out = b""
    while value > 0x7F:
        out, value = out + bytes([value & 0x7F | 0x80]), value >> 7
    return out + bytes([value])


def text(number: int, value: bytes) -> bytes:
    """A field of texts, bytes and messages."""
    return varint(number << 3 | 2) + varint(len(value)) + value


def count(number: int, value: int) -> bytes:
    return varint(number << 3) + varint(value)


class Peer:
    """Answers each method with bytes made by hand, and keeps what came."""

    def __init__(self, answers: dict[bytes, bytes]) -> None:
        self.answers, self.requests = answers, {}  # type: tuple[dict[bytes, bytes], dict[bytes, bytes]]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                length, stream, kind, flags = struct.unpack(">IIBB", await reader.readexactly(10))
                message = await reader.readexactly(length)
                assert (kind, flags, stream % 2) == (1, 0, 1)
                method, payload = self.parsed(message)
                self.requests[method] = payload
                if method in self.answers:
                    answer = text(2, self.answers[method])
                    writer.write(struct.pack(">IIBB", len(answer), stream, 2, 0) + answer)
                if method == b"ShutdownSandbox":
                    break
        except asyncio.IncompleteReadError:
            pass
        writer.close()

    @staticmethod
    def parsed(message: bytes) -> tuple[bytes, bytes]:
        """The Request starts with service (1), method (2) and payload (3)."""
        head = text(1, SERVICE)
        assert message.startswith(head)
        rest = message[len(head) :]
        assert rest[0] == 0x12
        method = rest[2 : 2 + rest[1]]
        rest = rest[2 + rest[1] :]
        if not rest or rest[0] != 0x1A:
            return method, b""
        size, at = 0, 1
        while True:
            size |= (rest[at] & 0x7F) << 7 * (at - 1)
            at += 1
            if not rest[at - 1] & 0x80:
                return method, rest[at : at + size]


class OneShim:
    """A provider whose shim is there already."""

    def __init__(self, address: str) -> None:
        self.address = address

    def handles(self, runtime: str) -> bool:
        return True

    async def start(self, namespace: str, id: str, bundle: str, options: CreateOptions) -> ShimEndpoint:
        return ShimEndpoint(self.address, 3)

    async def remove(self, namespace: str, id: str, bundle: str) -> Exit:
        return Exit(0, 137, 1)

    async def prepare(self) -> None: ...
    def adopt(self, bundle: str) -> None: ...
    def retire(self, bundle: str) -> bool:
        return True

    def release(self, bundle: str) -> None: ...
    def streams(self, namespace: str, id: str, bundle: str) -> None:
        return None

    async def plugin_info(self, runtime: str, options: AnyValue | None) -> AnyValue:
        raise AssertionError("nobody asks for it here")


TIME = count(1, 1_700_000_000) + count(2, 5)
NANOSECONDS = 1_700_000_000_000_000_005
ANSWERS = {
    b"CreateSandbox": b"",
    b"StartSandbox": count(1, 4242) + text(2, TIME) + text(3, text(1, b"t/S") + text(2, b"spec")),
    b"Platform": text(1, text(1, b"linux") + text(2, b"arm64") + text(3, b"v8")),
    b"StopSandbox": b"",
    b"SandboxStatus": text(1, b"p")
    + count(2, 4242)
    + text(3, b"SANDBOX_READY")
    + text(4, text(1, b"k") + text(2, b"v"))
    + text(5, TIME),
    b"SandboxMetrics": text(1, text(1, TIME) + text(2, b"p") + text(3, text(1, b"t/M") + text(2, b"m"))),
    b"WaitSandbox": count(1, 9) + text(2, TIME),
    b"ShutdownSandbox": b"",
}


@pytest.fixture
async def controller() -> AsyncIterator[tuple[ShimSandboxes, Peer, Path]]:
    folder = Path(tempfile.mkdtemp(prefix="csf", dir="/tmp"))
    peer, pools, supervisor = Peer(ANSWERS), Pools(), Supervisor()
    server = await asyncio.start_unix_server(peer.serve, f"{folder}/s")
    for name in ("state", "root"):
        (folder / name).mkdir()
    store = Bundles(folder / "state", folder / "root")
    shim = OneShim(f"unix://{folder}/s")
    made = ShimSandboxes(store, shim, Endpoints(), RecordingExchange(), pools, supervisor)
    await made.recover()
    yield made, peer, folder
    await made.close()
    server.close()
    await supervisor.close(1.0)
    pools.close()
    remove_tree(str(folder))


async def test_every_method(controller: tuple[ShimSandboxes, Peer, Path]) -> None:
    pods, peer, folder = controller
    options = SandboxOptions(
        rootfs=(Mount("bind", "/src", "/t", ("ro", "rbind")),),
        options=AnyValue("t/O", b"opts"),
        netns="/run/netns/n",
        annotations={"a": "b"},
    )
    await pods.create("ns", Sandbox("p", RuntimeInfo("/shim")), options)
    mount = text(1, b"bind") + text(2, b"/src") + text(3, b"/t") + text(4, b"ro") + text(4, b"rbind")
    assert peer.requests[b"CreateSandbox"] == (
        text(1, b"p")
        + text(2, f"{folder}/state/ns/p".encode())
        + text(3, mount)
        + text(4, text(1, b"t/O") + text(2, b"opts"))
        + text(5, b"/run/netns/n")
        + text(6, text(1, b"a") + text(2, b"b"))
    )
    started = await pods.start("ns", "p")
    assert started == SandboxInstance(
        "p", 4242, NANOSECONDS, {}, f"ttrpc+unix://{folder}/s", 3, AnyValue("t/S", b"spec")
    )
    assert await pods.wait("ns", "p") == SandboxExit(9, NANOSECONDS)
    assert await pods.platform("ns", "p") == Platform("linux", "arm64", "v8")
    assert await pods.status("ns", "p", verbose=True) == SandboxStatus(
        "p", 4242, "SANDBOX_READY", {"k": "v"}, NANOSECONDS, 0, None, f"ttrpc+unix://{folder}/s", 3
    )
    assert peer.requests[b"SandboxStatus"] == text(1, b"p") + count(2, 1)
    assert await pods.metrics("ns", "p") == SandboxMetrics("p", NANOSECONDS, AnyValue("t/M", b"m"))
    await pods.stop("ns", "p", 7)
    assert peer.requests[b"StopSandbox"] == text(1, b"p") + count(2, 7)
    await pods.shutdown("ns", "p")
    for method in (b"StartSandbox", b"Platform", b"WaitSandbox", b"SandboxMetrics", b"ShutdownSandbox"):
        assert peer.requests[method] == text(1, b"p"), method
