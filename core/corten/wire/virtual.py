"""Sockets into virtual machines: `vsock://CID:PORT` (vsock(7)), and `hvsock://PATH:PORT`.

The latter is the hybrid kind of Firecracker and Cloud Hypervisor: a unix socket of the host; one writes `CONNECT PORT`
and reads `OK …` before the bytes of the service in the machine.
"""

import asyncio
import socket
import sys

from corten.errors import InvalidArgument, Unavailable
from corten.values import dataclass

SCHEMES = ("vsock://", "hvsock://")
_ANSWER_MAX = 128
_PORT_MAX = 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class VirtualAddress:
    """`cid` for a vsock, `path` for a hybrid one."""

    port: int
    cid: int = 0
    path: str = ""


def parse(address: str) -> VirtualAddress:
    """Read an address of one of `SCHEMES`. Raises InvalidArgument."""
    scheme, _, rest = address.partition("://")
    where, _, port = rest.rpartition(":")
    if not where or not _number(port) or scheme not in ("vsock", "hvsock"):
        raise InvalidArgument(f"address {address!r}: neither vsock://CID:PORT nor hvsock://PATH:PORT")
    if scheme == "hvsock":
        return VirtualAddress(int(port), path=where)
    if not _number(where):
        raise InvalidArgument(f"address {address!r}: the context id of a vsock is a number of 32 bits")
    return VirtualAddress(int(port), cid=int(where))


async def connect(address: str) -> socket.socket:
    """A connected stream, which passes for a unix socket's.

    Raises InvalidArgument, Unavailable, and OSError for what the kernel says.
    """
    found = parse(address)
    if sys.platform == "win32" or not hasattr(socket, "AF_VSOCK"):
        raise Unavailable(f"address {address}: this system has no such sockets")
    if not found.path:
        stream = await _connected(socket.AF_VSOCK, (found.cid, found.port))
        # A stream of bytes like any other, though the event loop takes none that it does not know by family.
        return socket.socket(socket.AF_UNIX, socket.SOCK_STREAM, fileno=stream.detach())
    stream = await _connected(socket.AF_UNIX, found.path)
    try:
        await _handshake(stream, address, found.port)
    except BaseException:
        stream.close()
        raise
    return stream


async def _connected(family: int, address: object) -> socket.socket:
    stream = socket.socket(family, socket.SOCK_STREAM)
    stream.setblocking(False)
    try:
        await asyncio.get_running_loop().run_in_executor(None, _connect, stream, address)
    except BaseException:
        stream.close()
        raise
    return stream


def _connect(stream: socket.socket, address: object) -> None:
    """In a thread, for event loops know names of neither kind."""
    stream.settimeout(10)
    stream.connect(address)  # type: ignore[arg-type]
    stream.setblocking(False)


async def _handshake(stream: socket.socket, address: str, port: int) -> None:
    loop, answer = asyncio.get_running_loop(), b""
    await loop.sock_sendall(stream, b"CONNECT %d\n" % port)
    while not answer.endswith(b"\n"):  # byte by byte: what follows is the service's
        piece = await loop.sock_recv(stream, 1)
        answer += piece
        if not piece or len(answer) > _ANSWER_MAX:
            raise Unavailable(f"address {address}: the machine has closed the connection (does its agent run?)")
    if not answer.startswith(b"OK"):
        raise Unavailable(f"address {address}: the machine refuses: {answer.decode(errors='replace').strip()}")


def _number(text: str) -> bool:
    return text.isascii() and text.isdigit() and int(text) <= _PORT_MAX
