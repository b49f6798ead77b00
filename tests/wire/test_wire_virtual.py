"""Addresses of sockets into virtual machines, and the handshake of the hybrid kind, byte by byte."""

import asyncio
from pathlib import Path

import pytest
from corten.api.ttrpc.request_pb2 import Request
from corten.errors import CortenError, InvalidArgument, Unavailable
from corten.wire import virtual
from corten.wire.ttrpc.client import TtrpcClient
from corten.wire.virtual import VirtualAddress


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("vsock://3:1024", VirtualAddress(1024, cid=3)),
        ("vsock://4294967295:0", VirtualAddress(0, cid=4294967295)),
        ("hvsock:///run/vm.sock:5", VirtualAddress(5, path="/run/vm.sock")),
        ("hvsock:///odd:name:5", VirtualAddress(5, path="/odd:name")),
    ],
)
def test_addresses(text: str, address: VirtualAddress) -> None:
    assert virtual.parse(text) == address


@pytest.mark.parametrize(
    "text", ["vsock://3", "vsock://:1", "vsock://x:1", "vsock://3:-1", "vsock://3:4294967296", "hvsock://:1", "x://3:1"]
)
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(InvalidArgument, match=text):
        virtual.parse(text)


async def _machine(path: Path, answer: bytes) -> tuple[asyncio.Server, list[bytes]]:
    heard: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(await reader.readline())
        writer.write(answer)
        if answer.startswith(b"OK"):
            header = await reader.readexactly(10)
            body = await reader.readexactly(int.from_bytes(header[:4], "big"))
            heard.append(Request.FromString(body).method.encode())
            writer.write(bytes([0, 0, 0, 0, *header[4:8], 2, 0]))  # an empty answer
            await writer.drain()
            await reader.read()
        writer.close()

    return await asyncio.start_unix_server(serve, path), heard


async def test_a_call_into_a_machine(tmp_path: Path) -> None:
    server, heard = await _machine(tmp_path / "vm", b"OK 1073741824\n")
    async with server:
        client = await TtrpcClient.connect(f"hvsock://{tmp_path}/vm:1024")
        await client.call("a.Service", "Method", Request(), Request, timeout=10)
        assert heard == [b"CONNECT 1024\n", b"Method"]
        await client.close()


@pytest.mark.parametrize("answer", [b"", b"no such port\n", b"x" * 1000])
async def test_a_machine_that_refuses(tmp_path: Path, answer: bytes) -> None:
    server, _ = await _machine(tmp_path / "vm", answer)
    async with server:
        with pytest.raises(Unavailable, match="vm:7"):
            await TtrpcClient.connect(f"hvsock://{tmp_path}/vm:7")


@pytest.mark.parametrize("address", ["hvsock:///nowhere/vm:7", "vsock://1:4294967294"])
async def test_nobody_is_there(address: str) -> None:
    with pytest.raises(CortenError, match=address):
        await TtrpcClient.connect(address, timeout=10)
