"""How daemon, zygote and children talk: JSON packets with descriptors on the control socket, frames on private ones.

Control (SOCK_SEQPACKET): one request packet, one reply packet. A request to fork carries the child's end of a private
stream socket as first descriptor, then the caller's. On the private socket the daemon sends one frame with the payload,
the child answers with one frame: a gRPC status code (0: fine) and the result or the error's message.
A child gets its payload over its own socket so that it may be of any size, and so that a child whose zygote died while
it answered sees EOF instead of doing its work twice.
"""

import json
import socket
import struct
import sys
from collections.abc import Sequence
from typing import Any

PACKET_MAX = 64 * 1024
FDS_MAX = 250
"""The kernel takes 253 descriptors in a packet (SCM_MAX_FD, unix(7))."""
_HEADER = struct.Struct("!IQ")


def send_packet(control: socket.socket, packet: dict[str, Any], fds: Sequence[int] = ()) -> None:
    """Send one JSON packet with descriptors."""
    data = json.dumps(packet).encode()
    if fds and sys.platform != "win32":
        socket.send_fds(control, [data], list(fds))
    else:
        control.send(data)


def receive_packet(control: socket.socket) -> tuple[dict[str, Any], list[int]] | None:
    """The next packet and its descriptors (close-on-exec); None at the end of the connection."""
    if sys.platform == "win32":
        return None
    data, fds, _, _ = socket.recv_fds(control, PACKET_MAX, FDS_MAX, socket.MSG_CMSG_CLOEXEC)
    return (json.loads(data), fds) if data else None


def send_frame(private: socket.socket, code: int, body: bytes) -> None:
    """Send one frame."""
    private.sendall(_HEADER.pack(code, len(body)) + body)


def receive_frame(private: socket.socket) -> tuple[int, bytes] | None:
    """The next frame as (code, body); None if the other side closed before all of it came."""
    header = _exactly(private, _HEADER.size)
    if header is None:
        return None
    code, length = _HEADER.unpack(header)
    body = _exactly(private, length)
    return None if body is None else (code, bytes(body))


def _exactly(private: socket.socket, length: int) -> bytearray | None:
    data = bytearray(length)
    view, done = memoryview(data), 0
    while done < length:
        got = private.recv_into(view[done:])
        if not got:
            return None
        done += got
    return data
